// SPDX-License-Identifier: Apache-2.0
// What the logarithmic algorithms share: logarithms, and ranks folded to a number that suits.
#pragma once

#include <bit>
#include <cstdint>

namespace tutti::planner {

inline int32_t floor_log2(int32_t n) { return std::bit_width(static_cast<uint32_t>(n)) - 1; }
inline int32_t ceil_log2(int32_t n) { return std::bit_width(static_cast<uint32_t>(n - 1)); }

// The highest bit of x > 0, and the lowest bit above all bits of x >= 0.
inline int32_t top_bit(int32_t x) { return floor_log2(x); }
inline int32_t first_bit_above(int32_t x) { return std::bit_width(static_cast<uint32_t>(x)); }

// n ranks as `corners` <= n <= 2 corners: each of the others gives its contribution to a neighbour,
// which stands in for both. Corners are in rank order.
struct Folded {
  Folded(int32_t n_ranks, int32_t n_corners) : corners(n_corners), extras(n_ranks - n_corners) {}

  int32_t rank_of(int32_t corner) const {
    return corner < extras ? 2 * corner + 1 : corner + extras;
  }
  // The rank for which the corner's rank stands in, -1 when there is none.
  int32_t extra_of(int32_t corner) const { return corner < extras ? 2 * corner : -1; }

  int32_t corners;
  int32_t extras;
};

// As the corners of a cube.
struct Cube : Folded {
  explicit Cube(int32_t n_ranks)
      : Folded(n_ranks, 1 << floor_log2(n_ranks)), bits(floor_log2(n_ranks)) {}
  int32_t bits;
};

}  // namespace tutti::planner
