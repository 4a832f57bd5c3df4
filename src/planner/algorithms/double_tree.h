// SPDX-License-Identifier: Apache-2.0
// The shapes of a double binary tree.
#pragma once

#include <array>
#include <cstdint>
#include <vector>

namespace tutti::planner {

inline constexpr int32_t kNoParent = -1;
struct TreeNode {
  int32_t parent = kNoParent;
  std::vector<int32_t> children;  // ascending
};
using BinaryTree = std::vector<TreeNode>;  // by rank

// Sanders, Speck and Traeff, "Two-tree algorithms for full bandwidth broadcast, reduction and
// scan", Parallel Computing 35(12), 2009. Whoever is a leaf in one tree is an inner node of the
// other; with an odd number of ranks one rank is a leaf in both.
std::array<BinaryTree, 2> double_tree(int32_t n_ranks);

}  // namespace tutti::planner
