// SPDX-License-Identifier: Apache-2.0
// The kernel tutti_reduce_copy_<dtype> against the host's kernels, bit for bit.
#include "src/kernels/reduce_copy.h"

#include <array>

#include <gtest/gtest.h>

#include "src/kernels/cuda/symmetric_args.h"
#include "tests/cuda/gpu_memory.h"

namespace tutti::test {
namespace {

constexpr std::array<int32_t, 8> kDivisors = {1, 2, 3, 7, 8, 255, 300, 1'000'000};
constexpr size_t kMostBytes = 40'000;  // a whole group of 96 threads, and more than one block's
constexpr size_t kGuard = 64;

struct Case {
  DType dtype;
  Op op;
  size_t count;
  uint32_t n_sources;
  uint32_t n_sinks;
  bool alike;  // operands lie alike within 16 bytes
  int32_t divisor;
};

// Buffers on the device and their copies on the host, at the same places within 16 bytes.
struct Buffers {
  std::vector<std::byte*> device;
  std::vector<size_t> offset;
  std::vector<std::vector<std::byte>> host;

  Buffers(const Gpus& gpus, uint32_t n) {
    for (uint32_t i = 0; i < n; ++i) device.push_back(gpus.alloc(0, kMostBytes + 2 * kGuard));
  }
  void fill(std::mt19937_64& random, const Case& c, uint32_t n) {
    offset.clear();
    host.clear();
    const size_t elem = size_of(c.dtype);
    const size_t common = random() % (16 / elem) * elem;
    for (uint32_t i = 0; i < n; ++i) {
      offset.push_back(kGuard + (c.alike ? common : random() % 16));
      host.push_back(any_bytes(random, c.count * elem + 2 * kGuard));
      Gpus::write(device[i], host[i].data(), host[i].size());
    }
  }
};

void run_case(const Gpus& gpus, std::mt19937_64& random, const Case& c, Buffers& sources,
              Buffers& sinks) {
  sources.fill(random, c, c.n_sources);
  sinks.fill(random, c, c.n_sinks);
  const kernels::Scaling scaling = any_scaling(random, c.dtype, c.divisor);
  gpu::ReduceCopyArgs args{};
  std::vector<kernels::Source> from;
  std::vector<kernels::Sink> to;
  for (uint32_t i = 0; i < c.n_sources; ++i) {
    const bool pre = random() % 2 != 0;
    args.move.sources[i] = sources.device[i] + sources.offset[i];
    if (pre) args.move.pre_mask |= uint64_t{1} << i;
    from.push_back({sources.host[i].data() + sources.offset[i], pre});
  }
  for (uint32_t i = 0; i < c.n_sinks; ++i) {
    args.move.sinks[i] = sinks.device[i] + sinks.offset[i];
    to.push_back({sinks.host[i].data() + sinks.offset[i]});
  }
  args.move.n_sources = c.n_sources;
  args.move.n_sinks = c.n_sinks;
  args.move.bytes = c.count * size_of(c.dtype);
  args.move.post = random() % 4 != 0;
  args.reduction = gpu::make_reduction(c.dtype, c.op, &scaling);
  kernels::reduce_copy_for(c.dtype, c.op)({.sources = from.data(),
                                           .n_sources = from.size(),
                                           .sinks = to.data(),
                                           .n_sinks = to.size(),
                                           .count = c.count,
                                           .post = args.move.post,
                                           .scaling = &scaling});
  gpus.launch(0, "tutti_reduce_copy_" + id_of(c.dtype), 2, 96, args);
  gpus.synchronize();
  for (uint32_t i = 0; i < c.n_sinks; ++i) {
    if (Gpus::read(sinks.device[i], sinks.host[i].size()) == sinks.host[i]) continue;
    std::fprintf(stderr, "%s %s, %zu elements, %u sources, sink %u of %u, %s, divisor %d\n",
                 name(c.dtype), name(c.op), c.count, c.n_sources, i, c.n_sinks,
                 c.alike ? "alike" : "not alike", c.divisor);
    WANT(!"the same bits as the host's kernels");
  }
}

// Counts from nothing to several groups of vectors.
void run_all_shapes(DType dtype, uint64_t seed) {
  const Gpus gpus(1);
  std::mt19937_64 random(seed);
  Buffers sources(gpus, 6);
  Buffers sinks(gpus, 3);
  const size_t elem = size_of(dtype);
  const std::array<size_t, 5> counts = {0, 1, 16 / elem + 1, 5000 / elem, kMostBytes / elem};
  for (int op = 0; op < kOpCount; ++op) {
    for (int i = 0; i < 12; ++i) {
      const size_t most = counts[random() % counts.size()];
      run_case(
          gpus, random,
          {dtype, static_cast<Op>(op), most == 0 ? 0 : most - random() % std::min<size_t>(most, 7),
           1 + static_cast<uint32_t>(random() % 6), 1 + static_cast<uint32_t>(random() % 3),
           i % 3 != 0, kDivisors[random() % kDivisors.size()]},
          sources, sinks);
    }
  }
}

class EachType : public ::testing::TestWithParam<int> {};

TEST_P(EachType, HasTheHostsBits) {
  const auto outcome = cudasim::test::run({}, [] {
    run_all_shapes(static_cast<DType>(GetParam()), 1 + static_cast<uint64_t>(GetParam()));
  });
  EXPECT_TRUE(outcome.ended_well) << "signal " << outcome.signal << "\n" << outcome.said;
}
INSTANTIATE_TEST_SUITE_P(CudaReduceCopy, EachType, ::testing::Range(0, kDTypeCount),
                         [](const auto& p) { return id_of(static_cast<DType>(p.param)); });

}  // namespace
}  // namespace tutti::test
