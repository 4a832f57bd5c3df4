// SPDX-License-Identifier: Apache-2.0
// What Swing and the Bine trees share: steps by the partial sums of (-2)^i around a ring.
#pragma once

#include <cstdint>
#include <vector>

#include "src/planner/algorithms/butterfly.h"
#include "src/planner/algorithms/double_tree.h"

namespace tutti::planner {

// rho(s) = 1 - 2 + 4 - ... + (-2)^s = (1 - (-2)^(s+1)) / 3: 1, -1, 3, -5, 11, -21, ... In step s an
// even place meets the place rho(s) ahead, an odd one the place rho(s) behind, which is a third
// nearer than the 2^s of a hypercube. Always odd, so that even places meet odd ones.
constexpr int32_t negabinary_distance(int32_t step) {
  int32_t sum = 1;
  for (int32_t power = -2; step > 0; --step, power *= -2) sum += power;
  return sum;
}
static_assert(negabinary_distance(0) == 1 && negabinary_distance(1) == -1 &&
              negabinary_distance(2) == 3 && negabinary_distance(3) == -5 &&
              negabinary_distance(4) == 11);

// An even number of places on a ring, the farthest partners first (backwards: last, when the fewest
// blocks are left). Where the number is no power of two, blocks that come around the ring to a
// place that has them are not sent.
Butterfly negabinary_butterfly(int32_t places);

// The distance-halving Bine tree of any number of places with root 0: the way of place 0's block
// through the butterfly. Among a power of two of places, written in base -2: where the u lowest
// digits are alike, and no more, the parent has the others in their stead.
std::vector<TreeNode> bine_tree(int32_t places);

}  // namespace tutti::planner
