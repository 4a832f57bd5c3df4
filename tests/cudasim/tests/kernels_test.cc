// SPDX-License-Identifier: Apache-2.0
// Kernels that are right give the right results, with every seed, in strict and in weak mode.
#include <cstddef>
#include <numeric>

#include <gtest/gtest.h>

#include "tests/cudasim/kernels/basic.h"
#include "tests/cudasim/tests/support.h"

namespace cudasim::test {
namespace {

constexpr int kSeeds = 50;

void expect_well(const Outcome& outcome) {
  EXPECT_TRUE(outcome.ended_well) << "signal " << outcome.signal << "\n" << outcome.said;
}

TEST(CudasimKernels_Fill, ReachesEveryWord) {
  expect_well(run({}, [] {
    use_device(0);
    uint32_t* const words = alloc_words(1000);
    OK(launch("test_fill", 3, 96, FillArgs{words, 1000, 7}));
    OK(abi::cuCtxSynchronize());
    const std::vector<uint32_t> values = read_words(words, 1000);
    for (uint32_t i = 0; i < 1000; ++i) WANT(values[i] == 7 + i);
  }));
}

TEST(CudasimKernels_SharedMemory, IsTheBlocks) {
  expect_well(run({}, [] {
    use_device(0);
    std::vector<uint32_t> in(512);
    std::iota(in.begin(), in.end(), 1);
    uint32_t* const from = alloc_words(in.size());
    uint32_t* const to = alloc_words(4);
    write_words(from, in);
    OK(launch("test_block_sum", 4, 128, SumArgs{from, to}, nullptr, 128 * 4));
    const std::vector<uint32_t> sums = read_words(to, 4);
    for (ptrdiff_t b = 0; b < 4; ++b)
      WANT(sums[b] == std::accumulate(in.begin() + b * 128, in.begin() + (b + 1) * 128, 0U));
  }));
}

TEST(CudasimKernels_Votes, AreTheWarps) {
  expect_well(run({}, [] {
    use_device(0);
    uint32_t* const to = alloc_words(64);
    OK(launch("test_votes", 1, 64, SumArgs{nullptr, to}));
    const std::vector<uint32_t> got = read_words(to, 64);
    for (uint32_t i = 0; i < 64; ++i)
      WANT(got[i] == (0xaaaaaaaaU ^ (i < 32 ? 1U : 0U) ^ 2U ^ (i ^ 1) ^ (i / 32 * 32) ^ 4U));
  }));
}

TEST(CudasimKernels_Atomics, LoseNothing) {
  for (const char* weak : {"0", "1"})
    expect_well(run({{"CUDASIM_WEAK", weak}}, [] {
      use_device(0);
      uint32_t* const to = alloc_words(2);
      OK(launch("test_atomics", 4, 64, SumArgs{nullptr, to}));
      WANT(read_words(to, 2) == (std::vector<uint32_t>{256, 255}));
    }));
}

TEST(CudasimKernels_Bounds, LimitLaunches) {
  expect_well(run({}, [] {
    use_device(0);
    uint32_t* const to = alloc_words(1);
    OK(launch("test_bounded", 1, 64, FillArgs{to, 1, 1}));
    FAILS(launch("test_bounded", 1, 96, FillArgs{to, 1, 1}), kLaunchOutOfResources);
    FAILS(launch("test_fill", 1, 64, FillArgs{to, 1, 1}, nullptr, 64 << 10), kInvalidValue);
    FAILS(launch("test_fill", 1, 2048, FillArgs{to, 1, 1}), kInvalidValue);
  }));
}

struct Pair {
  uint32_t* words;  // data, flag, taken, wrong, abort
  MessageArgs args(uint32_t rounds, uint32_t writes) const {
    return {words, words + 256, words + 320, words + 384, words + 448, rounds, writes};
  }
};

// Between two devices of one process, whose memory the other may access.
Pair make_pair_of_devices() {
  const abi::Context first = use_device(0);
  uint32_t* const words = alloc_words(512);
  use_device(1);
  OK(abi::cuCtxEnablePeerAccess(first, 0));
  return {words};
}

void exchange_messages(const char* kernel) {
  const Pair pair = make_pair_of_devices();
  OK(launch(kernel, 1, 64, pair.args(10, 0), new_stream()));
  use_device(0);
  OK(launch(kernel, 1, 64, pair.args(10, 1), new_stream()));
  OK(abi::cuCtxSynchronize());
  use_device(1);
  OK(abi::cuCtxSynchronize());
  WANT(read_words(pair.words + 384, 1)[0] == 0);
}

class Seeds : public ::testing::TestWithParam<const char*> {};

TEST_P(Seeds, FiftyWeakOnesPass) {
  for (int seed = 1; seed <= kSeeds; ++seed)
    expect_well(run({{"CUDASIM_WEAK", "1"}, {"CUDASIM_SEED", std::to_string(seed)}},
                    [] { exchange_messages(GetParam()); }));
}
INSTANTIATE_TEST_SUITE_P(CudasimKernels, Seeds,
                         ::testing::Values("test_message", "test_fenced_message"));

TEST(CudasimKernels_GridBarrier, HoldsInWeakMode) {
  for (int seed = 1; seed <= kSeeds / 5; ++seed)
    expect_well(run({{"CUDASIM_WEAK", "1"}, {"CUDASIM_SEED", std::to_string(seed)}}, [] {
      use_device(0);
      uint32_t* const words = alloc_words(512);
      OK(launch("test_grid_barrier", 4, 32, Pair{words}.args(5, 0)));
      WANT(read_words(words + 384, 1)[0] == 0);
    }));
}

void exchange_lines() {
  const abi::Context first = use_device(0);
  uint32_t* const there = alloc_words(512);
  use_device(1);
  OK(abi::cuCtxEnablePeerAccess(first, 0));
  const auto lines = [&](uint32_t at) { return reinterpret_cast<tutti::gpu::Vec16*>(there + at); };
  OK(launch("test_lines", 1, 32, LineArgs{lines(0), lines(128), there + 384, there + 448, 20, 0},
            new_stream()));
  use_device(0);
  OK(launch("test_lines", 1, 32, LineArgs{lines(128), lines(0), there + 384, there + 448, 20, 1},
            new_stream()));
  OK(abi::cuCtxSynchronize());
  use_device(1);
  OK(abi::cuCtxSynchronize());
  WANT(read_words(there + 384, 1)[0] == 0);
}

TEST(CudasimKernels_Lines, AreNeverTorn) {
  for (int seed = 1; seed <= kSeeds / 5; ++seed)
    for (const char* weak : {"0", "1"})
      expect_well(
          run({{"CUDASIM_WEAK", weak}, {"CUDASIM_SEED", std::to_string(seed)}}, exchange_lines));
}

TEST(CudasimKernels_Clock, LetsTimePass) {
  expect_well(run({}, [] {
    use_device(0);
    uint32_t* const words = alloc_words(2);
    OK(launch("test_sleep", 1, 1, WaitArgs{words, words + 1, 5}));
    WANT(read_words(words, 2)[1] == 5);
  }));
}

}  // namespace
}  // namespace cudasim::test
