// SPDX-License-Identifier: Apache-2.0
// Packs spanning out-trees into a network of terminals, as many from each of them.
#pragma once

#include <cstdint>
#include <vector>

#include "src/planner/forest/wires.h"

namespace tutti::planner {

// `copies` equal trees that leave `root` and reach every terminal.
struct Tree {
  int32_t root = 0;
  int64_t copies = 1;
  std::vector<int32_t> wires;  // indices; a wire comes after the one that reaches its beginning
};

// k trees from every terminal such that no wire is used by more trees than its amount; the wires
// must support k trees and have no switches. Grows one kind of tree after the other by a wire at a
// time, the root's nearest first, in as many copies as leave enough for all the others, which one
// maximum flow tells (Edmonds 1973 in the form of Schrijver, Combinatorial Optimization, chapter
// 53, with capacities). Trees come out by root.
std::vector<Tree> pack_trees(const Wires& wires, int64_t k);

}  // namespace tutti::planner
