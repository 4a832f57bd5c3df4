// SPDX-License-Identifier: Apache-2.0
// Input values, and the result they must give, computed by plain scalar code that shares nothing
// with the library's kernels.
#pragma once

#include <cstddef>
#include <cstdint>
#include <map>
#include <tuple>
#include <utility>
#include <vector>

namespace tutti::bench {

// Inputs repeat with this period (a prime, so that no chunk or slot size is a multiple of it).
inline constexpr size_t kPeriod = 1021;
inline constexpr int kPreMulSum = 5;  // ops 0..4 are tuttiSum .. tuttiAvg

// Bytes of kPeriod elements.
using Pattern = std::vector<std::byte>;

// Values are chosen so that every partial result is exact in the datatype, whatever the order of
// reduction and the number of ranks; only Avg rounds, once.
class Patterns {
 public:
  // The input of `rank` of `n_ranks` for an operation: element i of its buffer is element i %
  // kPeriod of the table.
  const Pattern& input(int dtype, int op, int rank, int n_ranks);
  // The reduction over ranks 0 .. n_ranks-1 of element i % kPeriod.
  const Pattern& reduced(int dtype, int op, int n_ranks);

 private:
  std::map<std::tuple<int, int, int, int>, Pattern> inputs_;
  std::map<std::tuple<int, int, int>, Pattern> reduced_;
};

// The scalar of PreMulSum in every test: 2 for integers, 0.5 for floats; one element of dtype.
std::vector<std::byte> premul_scalar(int dtype);

// buffer[i] = table[(first + i) % kPeriod]; count elements of elem_bytes.
void fill(std::byte* buffer, const Pattern& table, size_t elem_bytes, size_t first, size_t count);
// Index of the first element that differs, or count.
size_t first_difference(const std::byte* buffer, const Pattern& table, size_t elem_bytes,
                        size_t first, size_t count);
size_t count_differences(const std::byte* buffer, const Pattern& table, size_t elem_bytes,
                         size_t first, size_t count);

}  // namespace tutti::bench
