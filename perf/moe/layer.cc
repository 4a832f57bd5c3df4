// SPDX-License-Identifier: Apache-2.0
// Inputs, and the library's dispatch and combine.
#include "perf/moe/layer.h"

#include <unistd.h>

#include <algorithm>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <random>

#include "src/base/clock.h"

namespace tutti::moe_perf {
namespace {

constexpr size_t kPage = 4096;

uint16_t bf16_of(float value) {
  uint32_t bits = 0;
  std::memcpy(&bits, &value, sizeof bits);
  return static_cast<uint16_t>((bits + 0x7fff + (bits >> 16 & 1)) >> 16);
}

// Values around 1 of both signs, from a table: quick to make, never special.
void fill(std::byte* rows, size_t elems, uint64_t seed) {
  std::mt19937_64 random(seed);
  std::normal_distribution<float> normal;
  std::vector<uint16_t> table(8191);
  for (uint16_t& code : table) code = bf16_of(normal(random));
  for (size_t at = 0; at < elems; at += table.size()) {
    std::memcpy(rows + 2 * at, table.data(), 2 * std::min(table.size(), elems - at));
  }
}

double seconds_since(int64_t start_ns) {
  return static_cast<double>(now_ns() - start_ns) / kNsPerSecond;
}

}  // namespace

void require(tuttiResult_t result, const char* what) {
  if (result == tuttiSuccess) return;
  std::fprintf(stderr, "%s failed: %s: %s\n", what, tuttiGetErrorString(result),
               tuttiGetLastError(nullptr));
  std::fflush(nullptr);
  ::_exit(1);  // other threads may be waiting inside the library
}

Buffer::Buffer(size_t bytes, bool shared)
    : memory_(nullptr, [](std::byte* memory) { std::free(memory); }) {
  const size_t whole = std::max(kPage, (bytes + kPage - 1) / kPage * kPage);
  void* memory = shared ? nullptr : std::aligned_alloc(kPage, whole);
  if (shared) {
    require(tuttiMemAlloc(&memory, whole), "tuttiMemAlloc");
    memory_ = {nullptr, [](std::byte* m) { require(tuttiMemFree(m), "tuttiMemFree"); }};
  }
  memory_.reset(static_cast<std::byte*>(memory));
  if (memory_ == nullptr) {
    std::fprintf(stderr, "a buffer of %zu bytes can't be had; lower --tokens\n", whole);
    ::_exit(1);
  }
  std::memset(memory_.get(), 0, whole);
}

RowBytes::RowBytes(const Options& o)
    : quantized(o.quantization != tuttiMoeQuantNone),
      hidden(static_cast<size_t>(o.hidden)),
      data(quantized ? hidden : 2 * hidden) {
  if (!quantized) return;
  form = {.elems = hidden,
          .group = o.quantization == tuttiMoeQuantMxfp8G32 ? size_t{32} : size_t{128},
          .scales = o.quantization == tuttiMoeQuantE4m3G128F32 ? kernels::RowScales::kFloat32
                                                               : kernels::RowScales::kUe8m0};
  scales = hidden / form.group * kernels::scale_bytes(form.scales);
}

Input::Input(const Options& o, const Seat& seat, size_t n, std::vector<int64_t> table)
    : tokens(n),
      experts(std::move(table)),
      x(n * static_cast<size_t>(o.hidden) * 2, o.registration != 0) {
  std::mt19937_64 random(o.seed * 31 + static_cast<uint64_t>(seat.rank));
  std::uniform_real_distribution<float> uniform(0.05F, 1.0F);
  for (size_t i = 0; i < experts.size(); ++i) weights.push_back(uniform(random));
  fill(x.data(), n * static_cast<size_t>(o.hidden), o.seed * 17 + static_cast<uint64_t>(seat.rank));
}

void fill_results(std::byte* rows, size_t n_rows, size_t hidden, uint64_t seed) {
  fill(rows, n_rows * hidden, seed);
}

Fused::Fused(const Options& o, const Seat& seat, size_t tokens, const Demand& demand)
    : top_k_(o.top_k) {
  constexpr size_t kSmallRows = 4096;  // buffers for any routing are no matter
  tuttiMoeConfig_t config = TUTTI_MOE_CONFIG_INITIALIZER;
  config.numExperts = o.experts;
  config.maxTopK = o.top_k;
  config.maxTokens = tokens;
  config.hidden = static_cast<size_t>(o.hidden);
  config.layout = o.layout;
  config.quantization = o.quantization;
  config.reduction = o.reduction;
  tuttiMoeSizes_t sizes = TUTTI_MOE_SIZES_INITIALIZER;
  require(tuttiMoeGetSizes(&config, seat.n_ranks, seat.rank, &sizes), "tuttiMoeGetSizes");
  if (sizes.receiveRows > kSmallRows) config.maxReceiveRows = demand.most;
  require(tuttiMoeGetSizes(&config, seat.n_ranks, seat.rank, &sizes), "tuttiMoeGetSizes");
  require(tuttiMoeGroupCreate(&group_, seat.comm, &config), "tuttiMoeGroupCreate");
  require(tuttiMoeHandleCreate(&handle_, group_), "tuttiMoeHandleCreate");
  rows_ = Buffer(demand.here * sizes.rowBytes);
  scales_ = Buffer(demand.here * sizes.rowScaleBytes);
  results_ = Buffer(demand.here * config.hidden * 2, o.registration != 0);
  output_ = Buffer(tokens * config.hidden * 2);
  fill_results(results_.data(), demand.here, config.hidden, o.seed * 3 + 1);
}

Fused::~Fused() {
  require(tuttiMoeHandleDestroy(handle_), "tuttiMoeHandleDestroy");
  require(tuttiMoeGroupDestroy(group_), "tuttiMoeGroupDestroy");
}

Times Fused::run(const Input& input) {
  Times times;
  int64_t start = now_ns();
  require(tuttiMoeRoute(handle_, input.experts.data(), input.weights.data(), input.tokens, top_k_),
          "tuttiMoeRoute");
  tuttiMoeOutput_t output = TUTTI_MOE_OUTPUT_INITIALIZER;
  output.rows = rows_.data();
  output.scales = scales_.data();
  require(tuttiMoeDispatch(handle_, input.x.data(), &output, TUTTI_MOE_BOTH, nullptr),
          "tuttiMoeDispatch");
  times.dispatch = seconds_since(start);
  start = now_ns();
  require(tuttiMoeCombine(handle_, results_.data(), output_.data(), TUTTI_MOE_BOTH, nullptr),
          "tuttiMoeCombine");
  times.combine = seconds_since(start);
  return times;
}

tuttiMoeLayout_t Fused::layout() const {
  tuttiMoeLayout_t layout = TUTTI_MOE_LAYOUT_INITIALIZER;
  require(tuttiMoeGetLayout(handle_, &layout), "tuttiMoeGetLayout");
  return layout;
}

tuttiMoeStats_t Fused::stats() const {
  tuttiMoeStats_t stats = TUTTI_MOE_STATS_INITIALIZER;
  require(tuttiMoeGroupGetStats(group_, &stats), "tuttiMoeGroupGetStats");
  return stats;
}

}  // namespace tutti::moe_perf
