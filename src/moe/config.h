// SPDX-License-Identifier: Apache-2.0
// What the ranks of a MoE group agree on, and the sizes that follow from it.
#pragma once

#include <cstddef>
#include <cstdint>
#include <vector>

#include "src/kernels/token_rows.h"

namespace tutti::moe {

// Values as in tutti/moe.h.
enum class Layout : uint8_t { kRankMajor, kExpertMajor };
enum class Quantization : uint8_t { kNone, kE4m3Float32, kE4m3Ue8m0, kMxfp8 };
enum class Reduction : uint8_t { kPerRank, kOnce, kHier };
enum class Overflow : uint8_t { kError, kDropReport };

inline constexpr int kMostTopK = 128;
inline constexpr int kMostExperts = 1 << 16;
inline constexpr size_t kMostHidden = size_t{1} << 20;
inline constexpr size_t kMostTokens = size_t{1} << 24;
inline constexpr int kMostHandles = 16;

struct Config {
  int n_ranks = 1;
  int n_experts = 1;
  int max_top_k = 1;
  size_t max_tokens = 0;  // of a rank
  size_t hidden = 0;
  size_t alignment = 1;         // rows; of the rows of each expert
  size_t max_receive_rows = 0;  // 0: as many as there can be
  Layout layout = Layout::kExpertMajor;
  Quantization quantization = Quantization::kNone;
  Reduction reduction = Reduction::kPerRank;
  Overflow overflow = Overflow::kError;
  int max_handles = 2;
  // By rank, the experts that it has, ascending by their place there; empty: dealt out evenly.
  std::vector<std::vector<int>> experts_of;
};

// Throws InvalidArgument naming the field, its value and what is allowed.
void check(const Config& config);
// Of all that ranks must agree on.
uint64_t digest(const Config& config) noexcept;

// How a row is sent and received in each direction.
struct RowForm {
  size_t hidden = 0;
  Quantization quantization = Quantization::kNone;
  kernels::QuantizedRow quantized;                                        // unless kNone
  size_t data_bytes = 0;                                                  // of a received row
  size_t scale_bytes = 0;                                                 // that come with it
  size_t row_bytes() const noexcept { return data_bytes + scale_bytes; }  // W
  size_t input_bytes() const noexcept { return hidden * 2; }              // of a bfloat16 row
};
RowForm row_form(size_t hidden, Quantization quantization) noexcept;
// Bytes of a partial sum on its way back.
size_t partial_bytes(const Config& config) noexcept;

}  // namespace tutti::moe
