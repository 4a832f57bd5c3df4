// SPDX-License-Identifier: Apache-2.0
// What the logarithmic algorithms share: ranks folded to a power of two, and rounds of exchanges
// unrolled per chunk.
#pragma once

#include <bit>
#include <cstddef>
#include <cstdint>
#include <vector>

namespace tutti::planner {

inline int32_t floor_log2(int32_t n) { return std::bit_width(static_cast<uint32_t>(n)) - 1; }
inline int32_t ceil_log2(int32_t n) { return std::bit_width(static_cast<uint32_t>(n - 1)); }

// The highest bit of x > 0, and the lowest bit above all bits of x >= 0.
inline int32_t top_bit(int32_t x) { return floor_log2(x); }
inline int32_t first_bit_above(int32_t x) { return std::bit_width(static_cast<uint32_t>(x)); }

// n ranks as the corners of a cube: the ranks beyond a power of two give their contribution to a
// neighbour, which stands in for both. Corners are in rank order.
struct Cube {
  explicit Cube(int32_t n_ranks) : bits(floor_log2(n_ranks)), extras(n_ranks - (1 << bits)) {}

  int32_t corners() const { return 1 << bits; }
  int32_t rank_of(int32_t corner) const {
    return corner < extras ? 2 * corner + 1 : corner + extras;
  }
  // The rank for which the corner's rank stands in, -1 when there is none.
  int32_t extra_of(int32_t corner) const { return corner < extras ? 2 * corner : -1; }

  int32_t bits;
  int32_t extras;
};

// The order in which a rank handles chunks when rounds of exchanges are unrolled per chunk:
// bit-reversed, 0 first.
//
// Seen from a rank, each chunk has an offset x, 0 for its own. An exchange along bit b concerns the
// offsets with highest bit b at one end, and the offsets x - 2^b < 2^b at the other. In this order
// the two alternate strictly (odd and even multiples of one stride), and both ends meet them in the
// same order: whatever the number of chunks, 1 slot is enough.
inline std::vector<int32_t> bit_reversed(int32_t bits) {
  std::vector<int32_t> order{0};
  for (int32_t b = bits - 1; b >= 0; --b) {
    const size_t known = order.size();
    for (size_t i = 0; i < known; ++i) order.push_back(order[i] | (1 << b));
  }
  return order;
}

}  // namespace tutti::planner
