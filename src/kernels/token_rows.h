// SPDX-License-Identifier: Apache-2.0
// Rows of tokens: quantised while they are copied to several places, and summed with weights.
//
// Numerics, the same to the bit on every machine (docs/design/moe.md):
//  - A group of `group` bfloat16 elements has amax, the largest magnitude of its finite elements,
//  at
//    least 1e-4. With float32 scales an element becomes e4m3(x * (448 / amax)) and the scale is
//    amax / 448; with UE8M0 scales s = 2^ceil(log2(amax / 448)), an element becomes e4m3(x / s),
//    and the scale is the exponent of s with a bias of 127.
//  - e4m3 rounds to nearest, ties to even, and saturates: infinities too become +-448. NaN becomes
//    0x7f, whatever its sign and payload.
//  - Sums are in float32, in the order of the rows: the first product, then one rounded addition of
//    one rounded product each. bfloat16 rounds to nearest, ties to even; NaN becomes 0x7fc0.
#pragma once

#include <cstddef>
#include <cstdint>

namespace tutti::kernels {

enum class RowScales : uint8_t { kFloat32, kUe8m0 };
constexpr size_t scale_bytes(RowScales scales) noexcept {
  return scales == RowScales::kFloat32 ? sizeof(float) : 1;
}

// Where a quantised row goes: a byte for each element, a scale for each group. No alignment.
struct RowSink {
  std::byte* data = nullptr;
  std::byte* scales = nullptr;
};
struct QuantizedRow {
  size_t elems = 0;  // a multiple of group
  size_t group = 0;  // 32 or 128
  RowScales scales = RowScales::kFloat32;
};
// How often a row is read for so many sinks: more than a few streams of stores at once get in each
// other's way.
inline constexpr size_t kSinksAtOnce = 4;
constexpr size_t row_reads(size_t n_sinks) noexcept {
  return n_sinks == 0 ? 1 : (n_sinks + kSinksAtOnce - 1) / kSinksAtOnce;
}
// Reads the bfloat16 row once and writes it to every sink; sinks behind the first few are copied
// from the first.
void quantize_row(const std::byte* row, const QuantizedRow& form, const RowSink* sinks,
                  size_t n_sinks) noexcept;

// The same for bytes as they are.
void copy_row(const std::byte* row, size_t bytes, std::byte* const* sinks, size_t n_sinks) noexcept;

// out[i] = sum over rows j, in order, of weights[j] * rows[j][i], i < elems. weights null: the rows
// themselves. No rows: zeros. Nothing need be aligned. Rows of bfloat16 to bfloat16, rows of
// bfloat16 to float32, and rows of float32 to bfloat16.
struct RowSum {
  const std::byte* const* rows = nullptr;
  const float* weights = nullptr;
  size_t n_rows = 0;
  size_t elems = 0;
};
void sum_rows(const RowSum& sum, std::byte* out) noexcept;
// The same, where the row in place `at` is not there yet: it is the sum `inner`, rounded to
// bfloat16, and its pointer in `sum` is not read.
void sum_rows_around(const RowSum& sum, const RowSum& inner, size_t at, std::byte* out) noexcept;
void sum_rows_unrounded(const RowSum& sum, std::byte* out) noexcept;
void sum_float_rows(const RowSum& sum, std::byte* out) noexcept;

}  // namespace tutti::kernels
