// SPDX-License-Identifier: Apache-2.0
// Collectives on symmetric memory by DeviceExecutor on simulated devices: in pieces, in graphs,
// and when a rank does not come. (tests/conformance has them in communicators.)
#include <array>
#include <memory>
#include <vector>

#include "src/exec/cuda/symmetric.h"
#include "tests/cuda/executor_calls.h"

namespace tutti::test {
namespace {

constexpr int kRanks = 3;
constexpr uint32_t kBlocks = 4;
constexpr size_t kAreaBytes = 4096;
constexpr size_t kCount = 3001;  // float32: three pieces

struct SymmetricRanks {
  std::vector<exec::SymmetricRegion> regions;
  std::vector<std::unique_ptr<exec::DeviceExecutor>> executors;
  std::vector<std::byte*> from;
  std::vector<std::byte*> to;

  explicit SymmetricRanks(const Gpus& gpus) {
    exec::SymmetricRegion region{.n_ranks = kRanks, .blocks = kBlocks, .area_bytes = kAreaBytes};
    for (int r = 0; r < kRanks; ++r) {
      region.areas.push_back(gpus.alloc(r, kAreaBytes));
      region.flags.push_back(gpus.alloc_of<uint64_t>(r, size_t{kBlocks} * kRanks));
      from.push_back(gpus.alloc(r, 4 * kCount));
      to.push_back(gpus.alloc(r, 4 * kCount));
    }
    for (int r = 0; r < kRanks; ++r) {
      region.rank = static_cast<uint32_t>(r);
      region.epochs = gpus.alloc_of<uint32_t>(r, kBlocks);
      regions.push_back(region);
      executors.push_back(std::make_unique<exec::DeviceExecutor>(exec::DeviceExecutor::Settings{
          .device = r, .rank = r, .n_ranks = kRanks, .threads = 64}));
    }
  }
  exec::DeviceExecutor& operator[](int r) { return *executors[static_cast<size_t>(r)]; }
  bool launch(const Gpus& gpus, int r, exec::SymmetricWay way) {
    const auto at = static_cast<size_t>(r);
    return executors[at]->launch(regions[at], {.way = way,
                                               .dtype = DType::kFloat32,
                                               .count = kCount,
                                               .input = from[at],
                                               .output = to[at],
                                               .signature = kSignature,
                                               .call = 5,
                                               .stream = gpus.stream(r)});
  }
  // New inputs; what the sum is, in the order of ranks.
  Bytes fill(const Gpus& gpus, int first) {
    std::vector<float> sum(kCount);
    for (int r = 0; r < kRanks; ++r) {
      std::vector<float> values(kCount);
      for (size_t i = 0; i < kCount; ++i) {
        values[i] = static_cast<float>(first + r) + static_cast<float>(i % 7) / 8;
        sum[i] += values[i];
      }
      gpus.use(r);
      Gpus::write(from[static_cast<size_t>(r)], values.data(), 4 * kCount);
    }
    Bytes bytes(4 * kCount);
    memcpy(bytes.data(), sum.data(), bytes.size());
    return bytes;
  }
};

void want_sums(SymmetricRanks& ranks, const Bytes& wanted) {
  for (std::byte* const to : ranks.to) WANT(Gpus::read(to, wanted.size()) == wanted);
}

TEST_F(DeviceExecutorTest, SymmetricAllReduce_OfSeveralPieces_IsCounted) {
  for (const bool weak : {false, true}) {
    expect_well({{"CUDASIM_WEAK", weak ? "1" : "0"}}, [] {
      const Gpus gpus(kRanks);
      SymmetricRanks ranks(gpus);
      uint64_t launches = 0;
      for (const auto way : {exec::SymmetricWay::kOneShot, exec::SymmetricWay::kTwoShot}) {
        const Bytes wanted = ranks.fill(gpus, 1 + static_cast<int>(way));
        for (int r = 0; r < kRanks; ++r) WANT(ranks.launch(gpus, r, way));
        gpus.synchronize();
        want_sums(ranks, wanted);
        launches += 3;
        for (int r = 0; r < kRanks; ++r) {
          const exec::DeviceCounts counts = ranks[r].counts();
          WANT(counts.issued == launches && counts.done == launches);
          WANT(counts.begun == launches && counts.ended == launches && counts.call == 5);
          WANT(!ranks[r].failure() && ranks[r].idle());
        }
      }
    });
  }
}

TEST_F(DeviceExecutorTest, SymmetricAllReduce_Captured_FollowsNewInputs) {
  expect_well({}, [] {
    const Gpus gpus(kRanks);
    SymmetricRanks ranks(gpus);
    std::array<cuda::GraphExec, kRanks> graphs{};
    for (int r = 0; r < kRanks; ++r) {
      gpus.use(r);
      OK(cuda::cuStreamBeginCapture_v2(gpus.stream(r), cuda::CaptureMode::kGlobal));
      WANT(!ranks.launch(gpus, r, exec::SymmetricWay::kTwoShot));
      cuda::Graph graph = nullptr;
      OK(cuda::cuStreamEndCapture(gpus.stream(r), &graph));
      OK(cuda::cuGraphInstantiateWithFlags(&graphs[static_cast<size_t>(r)], graph, 0));
    }
    for (int replay = 1; replay <= 3; ++replay) {
      const Bytes wanted = ranks.fill(gpus, replay);
      for (int r = 0; r < kRanks; ++r) {
        gpus.use(r);
        OK(cuda::cuGraphLaunch(graphs[static_cast<size_t>(r)], gpus.stream(r)));
      }
      gpus.synchronize();
      want_sums(ranks, wanted);
      const exec::DeviceCounts counts = ranks[0].counts();
      WANT(counts.issued == 0 && counts.ended == uint64_t{3} * static_cast<unsigned>(replay));
    }
  });
}

TEST_F(DeviceExecutorTest, SymmetricAllReduce_RankThatDoesNotCome_IsNamedAndAborted) {
  expect_well({}, [] {
    const Gpus gpus(kRanks);
    SymmetricRanks ranks(gpus);
    for (const int r : {0, 2}) WANT(ranks.launch(gpus, r, exec::SymmetricWay::kOneShot));
    for (const int r : {0, 2}) {
      await([&] { return ranks[r].waits_for(1); });
      const auto waiting = ranks[r].waiting();
      WANT(waiting.has_value() && waiting->what == gpu::WaitFor::kBarrier && waiting->rank == 1);
      ranks[r].abort();
      await([&] { return ranks[r].idle(); });
      const auto failure = ranks[r].failure();
      WANT(failure.has_value() && failure->what == gpu::Failure::kAborted && failure->rank == 1);
    }
  });
}

}  // namespace
}  // namespace tutti::test
