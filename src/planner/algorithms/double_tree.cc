// SPDX-License-Identifier: Apache-2.0
// Builds both trees of a double binary tree.
#include "src/planner/algorithms/double_tree.h"

#include <algorithm>
#include <bit>
#include <cstddef>

namespace tutti::planner {
namespace {

// In-order tree over the ranks [low, low + size): even distances from 0 are leaves, odd ones inner
// nodes.
void grow(BinaryTree* tree, int32_t low, int32_t size, int32_t parent) {
  if (size == 0) return;
  const auto left = static_cast<int32_t>(std::bit_floor(static_cast<uint32_t>(size))) - 1;
  const int32_t top = low + left;
  (*tree)[static_cast<size_t>(top)].parent = parent;
  if (parent != kNoParent) (*tree)[static_cast<size_t>(parent)].children.push_back(top);
  grow(tree, low, left, top);
  grow(tree, top + 1, size - left - 1, top);
}

// The same tree with leaves and inner nodes swapped: mirrored for even n, moved on by one rank for
// odd n.
BinaryTree second_tree(const BinaryTree& first) {
  const auto n = static_cast<int32_t>(first.size());
  const auto moved = [n](int32_t rank) { return n % 2 == 0 ? n - 1 - rank : (rank + 1) % n; };
  BinaryTree second(first.size());
  for (int32_t rank = 0; rank < n; ++rank) {
    const TreeNode& from = first[static_cast<size_t>(rank)];
    TreeNode& to = second[static_cast<size_t>(moved(rank))];
    if (from.parent != kNoParent) to.parent = moved(from.parent);
    for (const int32_t child : from.children) to.children.push_back(moved(child));
    std::sort(to.children.begin(), to.children.end());
  }
  return second;
}

}  // namespace

std::array<BinaryTree, 2> double_tree(int32_t n_ranks) {
  BinaryTree first(static_cast<size_t>(n_ranks));
  grow(&first, 0, n_ranks, kNoParent);
  BinaryTree second = second_tree(first);
  return {std::move(first), std::move(second)};
}

}  // namespace tutti::planner
