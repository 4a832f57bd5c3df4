// SPDX-License-Identifier: Apache-2.0
// Checks of a configuration.
#include "src/moe/config.h"

#include <algorithm>
#include <string>

#include "src/base/error.h"
#include "src/base/hash.h"

namespace tutti::moe {
namespace {

void expect_range(const char* name, uint64_t value, uint64_t least, uint64_t most) {
  if (value >= least && value <= most) return;
  throw Error(StatusCode::kInvalidArgument,
              "config." + std::string(name) + " is " + std::to_string(value) + "; allowed are " +
                  std::to_string(least) + " to " + std::to_string(most));
}

void check_experts(const Config& config) {
  std::vector<bool> placed(static_cast<size_t>(config.n_experts));
  for (size_t rank = 0; rank < config.experts_of.size(); ++rank) {
    std::vector<bool> here(placed.size());
    for (const int expert : config.experts_of[rank]) {
      const std::string where = "config.experts places expert " + std::to_string(expert) +
                                " on rank " + std::to_string(rank);
      if (expert < 0 || expert >= config.n_experts) {
        throw Error(StatusCode::kInvalidArgument,
                    where + "; allowed are 0 to " + std::to_string(config.n_experts - 1));
      }
      if (here[static_cast<size_t>(expert)])
        throw Error(StatusCode::kInvalidArgument, where + " twice; once is allowed");
      here[static_cast<size_t>(expert)] = placed[static_cast<size_t>(expert)] = true;
    }
  }
  const auto missing = std::find(placed.begin(), placed.end(), false);
  if (config.experts_of.empty() || missing == placed.end()) return;
  throw Error(StatusCode::kInvalidArgument, "config.experts places expert " +
                                                std::to_string(missing - placed.begin()) +
                                                " on no rank; each needs at least one");
}

}  // namespace

void check(const Config& config) {
  expect_range("numExperts", static_cast<uint64_t>(config.n_experts), 1, kMostExperts);
  expect_range("maxTopK", static_cast<uint64_t>(config.max_top_k), 1, kMostTopK);
  expect_range("maxTokens", config.max_tokens, 0, kMostTokens);
  expect_range("hidden", config.hidden, 1, kMostHidden);
  expect_range("alignment", config.alignment, 1, 1 << 20);
  expect_range("maxHandles", static_cast<uint64_t>(config.max_handles), 1, kMostHandles);
  const size_t group = row_form(config.hidden, config.quantization).quantized.group;
  if (config.quantization != Quantization::kNone && config.hidden % group != 0) {
    throw Error(StatusCode::kInvalidArgument,
                "config.hidden is " + std::to_string(config.hidden) +
                    "; the quantisation needs a multiple of its group, " + std::to_string(group));
  }
  check_experts(config);
}

uint64_t digest(const Config& config) noexcept {
  Hasher hash;
  hash.value(config.n_ranks);
  hash.value(config.n_experts);
  hash.value(config.max_top_k);
  hash.value(config.max_tokens);
  hash.value(config.hidden);
  hash.value(config.alignment);
  hash.value(config.max_receive_rows);
  hash.value(config.layout);
  hash.value(config.quantization);
  hash.value(config.reduction);
  hash.value(config.overflow);
  hash.value(config.max_handles);
  for (const std::vector<int>& experts : config.experts_of) {
    hash.value(experts.size());
    for (const int expert : experts) hash.value(expert);
  }
  return hash.finish();
}

RowForm row_form(size_t hidden, Quantization quantization) noexcept {
  RowForm form{.hidden = hidden, .quantization = quantization};
  if (quantization == Quantization::kNone) {
    form.data_bytes = 2 * hidden;
    return form;
  }
  const bool floats = quantization == Quantization::kE4m3Float32;
  form.quantized = {.elems = hidden,
                    .group = quantization == Quantization::kMxfp8 ? size_t{32} : size_t{128},
                    .scales = floats ? kernels::RowScales::kFloat32 : kernels::RowScales::kUe8m0};
  form.data_bytes = hidden;
  form.scale_bytes = hidden / form.quantized.group * kernels::scale_bytes(form.quantized.scales);
  return form;
}

size_t partial_bytes(const Config& config) noexcept {
  return config.hidden * (config.reduction == Reduction::kOnce ? sizeof(float) : 2);
}

}  // namespace tutti::moe
