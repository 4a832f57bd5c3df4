// SPDX-License-Identifier: Apache-2.0
// The partners and trees of negabinary steps.
#include "src/planner/algorithms/negabinary.h"

#include <algorithm>
#include <cstddef>
#include <utility>

namespace tutti::planner {
namespace {

// Ahead of `position`, which may be negative, by the step's distance.
int32_t after_step(int32_t position, int32_t step) {
  const int32_t distance = negabinary_distance(step);
  return position % 2 == 0 ? position + distance : position - distance;
}

int32_t on_ring(int32_t position, int32_t places) { return (position % places + places) % places; }

}  // namespace

Butterfly negabinary_butterfly(int32_t places) {
  Butterfly::Partners to;
  for (int32_t step = ceil_log2(places) - 1; step >= 0; --step) {
    std::vector<int32_t>& round = to.emplace_back();
    for (int32_t place = 0; place < places; ++place)
      round.push_back(on_ring(after_step(place, step), places));
  }
  return Butterfly(std::move(to));
}

std::vector<TreeNode> bine_tree(int32_t places) {
  std::vector<TreeNode> tree(static_cast<size_t>(places));
  std::vector<int32_t> reached{0};  // positions, with no end of the ring
  for (int32_t step = ceil_log2(places) - 1; step >= 0; --step) {
    const size_t known = reached.size();
    for (size_t i = 0; i < known; ++i) {
      const int32_t parent = on_ring(reached[i], places);
      const int32_t position = after_step(reached[i], step);
      const int32_t child = on_ring(position, places);
      TreeNode& node = tree[static_cast<size_t>(child)];
      if (child == 0 || node.parent != kNoParent) continue;
      node.parent = parent;
      tree[static_cast<size_t>(parent)].children.push_back(child);
      reached.push_back(position);
    }
  }
  for (TreeNode& node : tree) std::ranges::sort(node.children);
  return tree;
}

}  // namespace tutti::planner
