// SPDX-License-Identifier: Apache-2.0
// User buffers, the same for every peer, and the values in them: small integers in float32, so that
// every sum is exact in any order.
#pragma once

#include <cstddef>
#include <vector>

#include "perf/compare/ranks/point.h"

namespace tutti::compare {

// Private anonymous memory, which is what malloc gives for large blocks, with a page size asked for
// (and, when small, made sure of). Touched. Throws std::bad_alloc.
void* map_private(size_t bytes, Pages pages);
void unmap_private(void* memory, size_t bytes);

// One rank's values: element i of its input is table[i % kPeriod].
inline constexpr size_t kPeriod = 1021;  // a prime: no chunk or slot size is a multiple of it
using Table = std::vector<float>;
Table input_table(uint32_t seed, int rank);
Table reduced_table(uint32_t seed, int n_ranks);

// buffer[i] = table[(first + i) % kPeriod], i < elems.
void fill(float* buffer, const Table& table, size_t first, size_t elems);
// Number of elements that differ from that.
size_t count_wrong(const float* buffer, const Table& table, size_t first, size_t elems);

}  // namespace tutti::compare
