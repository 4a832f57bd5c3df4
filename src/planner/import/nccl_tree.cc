// SPDX-License-Identifier: Apache-2.0
// Binary trees over boxes as NCCL numbers them: leaves and inner boxes alternate, box 0 is on top.
#include "src/planner/import/nccl_tree.h"

#include <algorithm>
#include <bit>

namespace tutti::planner::nccl {
namespace {

constexpr int32_t kTreePattern = 3;
constexpr int32_t kSplitTreePattern = 2;

// In the first tree. The lowest bit that is set says how high a box is; its parent has the next one
// set instead, or none where that would be past the end.
int32_t parent_in_first(int32_t box, int32_t n) {
  if (box == 0) return kNoRank;
  const auto bits = static_cast<uint32_t>(box);
  const uint32_t lowest = bits & (~bits + 1);
  const auto up = static_cast<int32_t>((bits ^ lowest) | (lowest << 1));
  return up < n ? up : static_cast<int32_t>(bits ^ lowest);
}

// The box that stands in the second tree where `box` stands in the first, and back.
int32_t moved(int32_t box, int32_t n) { return n % 2 == 0 ? n - 1 - box : (box + 1) % n; }
int32_t moved_back(int32_t box, int32_t n) { return n % 2 == 0 ? n - 1 - box : (box + n - 1) % n; }

void join(Tree* tree, int32_t child, int32_t parent) {
  tree->seats[static_cast<size_t>(child)].parent = parent;
  tree->seats[static_cast<size_t>(parent)].children.push_back(child);
}

// Index, in a box's chain, of the GPU that talks to a child box.
size_t index_for_child(const TreeKind& kind, bool upper, size_t gpus) {
  const bool second = upper ? kind.pattern == kSplitTreePattern : kind.pattern != kTreePattern;
  return second && gpus > 1 ? 1 : 0;
}

void add_nic(const PlacedChannel& box, size_t index, std::vector<int32_t>* through) {
  if (!box.nics.empty()) through->push_back(index == 0 ? box.nics.front() : box.nics.back());
}

}  // namespace

Tree tree_of(const std::vector<PlacedChannel>& boxes, const TreeKind& kind, int32_t n_ranks,
             int32_t channel) {
  Tree tree;
  tree.seats.resize(static_cast<size_t>(n_ranks));
  const auto n = static_cast<int32_t>(boxes.size());
  for (int32_t b = 0; b < n; ++b) {
    const PlacedChannel& box = boxes[static_cast<size_t>(b)];
    for (size_t i = 1; i < box.ranks.size(); ++i) join(&tree, box.ranks[i], box.ranks[i - 1]);
    const int32_t place = kind.second ? moved_back(b, n) : b;
    const int32_t above = parent_in_first(place, n);
    if (above == kNoRank) continue;
    const PlacedChannel& up = boxes[static_cast<size_t>(kind.second ? moved(above, n) : above)];
    const size_t index = index_for_child(kind, place > above, up.ranks.size());
    const int32_t child = box.ranks.front();
    const int32_t parent = up.ranks[index];
    join(&tree, child, parent);
    std::vector<int32_t> through;
    add_nic(box, 0, &through);
    add_nic(up, index, &through);
    tree.detours.push_back({child, parent, channel, through});
    tree.detours.push_back({parent, child, channel, {through.rbegin(), through.rend()}});
  }
  for (TreeSeat& seat : tree.seats) std::ranges::sort(seat.children);
  return tree;
}

}  // namespace tutti::planner::nccl
