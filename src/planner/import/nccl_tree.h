// SPDX-License-Identifier: Apache-2.0
// NCCL's double binary trees over boxes, with a chain in each. Only src/planner/import uses it.
#pragma once

#include <cstdint>
#include <vector>

#include "src/planner/import/nccl_boxes.h"
#include "src/verify/routes.h"

namespace tutti::planner::nccl {

struct TreeSeat {
  int32_t parent = kNoRank;
  std::vector<int32_t> children;  // ascending
};
struct Tree {
  std::vector<TreeSeat> seats;          // by rank
  std::vector<verify::Detour> detours;  // between boxes, both ways
};

struct TreeKind {
  int32_t pattern = 0;  // of the graph
  bool second = false;  // of the two: mirrored for an even number of boxes, else moved on by one
};

// `boxes`: the channel in each. Its first GPU talks to the parent box; which one talks to each of
// the two child boxes follows from the pattern: the same (3), the second (2), or the second to the
// lower and the first to the upper (all others). The first GPU uses the first NIC, others the
// second.
Tree tree_of(const std::vector<PlacedChannel>& boxes, const TreeKind& kind, int32_t n_ranks,
             int32_t channel);

}  // namespace tutti::planner::nccl
