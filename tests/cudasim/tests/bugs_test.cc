// SPDX-License-Identifier: Apache-2.0
// Each mistake in a kernel is found, and the report says what and where.
#include <csignal>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "tests/cudasim/kernels/basic.h"
#include "tests/cudasim/tests/support.h"

namespace cudasim::test {
namespace {

using ::testing::AllOf;
using ::testing::HasSubstr;

constexpr int kSeeds = 50;

struct Bug {
  const char* kernel;
  unsigned threads;
  Result code;
  std::vector<const char*> report;  // parts of it
};

// Launched with 64 words of memory; fails, and so does everything after it.
Outcome launch_bug(const Bug& bug) {
  return run({{"CUDASIM_HANG_MS", "300"}}, [&bug] {
    use_device(0);
    uint32_t* const words = alloc_words(64);
    uint32_t* const lines = alloc_words(512);
    const std::string name = bug.kernel;
    if (name == "bug_weak_spin" || name == "bug_lost_signal" || name == "bug_endless") {
      OK(launch(bug.kernel, 1, bug.threads, WaitArgs{words, words + 1, 3}));
    } else if (name == "bug_torn_line") {
      OK(launch(
          bug.kernel, 1, bug.threads,
          LineArgs{nullptr, reinterpret_cast<tutti::gpu::Vec16*>(lines), words, words, 1, 1}));
    } else {
      OK(launch(bug.kernel, 1, bug.threads, FillArgs{words, 64, 3}));
    }
    WANT(abi::cuCtxSynchronize() == bug.code);
    WANT(abi::cuCtxSynchronize() == bug.code);  // it stays
    abi::DevicePtr more = 0;
    WANT(abi::cuMemAlloc_v2(&more, 4096) == bug.code);
    OK(abi::cuDevicePrimaryCtxReset_v2(0));
    OK(abi::cuMemAlloc_v2(&more, 4096));
  });
}

class Bugs : public ::testing::TestWithParam<Bug> {};

TEST_P(Bugs, AreReported) {
  const Outcome outcome = launch_bug(GetParam());
  EXPECT_TRUE(outcome.ended_well) << outcome.said;
  EXPECT_THAT(outcome.said, HasSubstr(std::string("kernel ") + GetParam().kernel));
  for (const char* part : GetParam().report) EXPECT_THAT(outcome.said, HasSubstr(part));
}

INSTANTIATE_TEST_SUITE_P(
    Cudasim, Bugs,
    ::testing::Values(
        Bug{"bug_out_of_bounds",
            65,
            Result::kIllegalAddress,
            {"block 0, thread 64 at bugs.cu:9", "out of bounds",
             "0 bytes behind the end of 256 bytes"}},
        Bug{"bug_misaligned",
            4,
            Result::kMisalignedAddress,
            {"block 0, thread", "writes 16 bytes", "not a multiple of 16"}},
        Bug{"bug_divergent_barrier",
            64,
            Result::kLaunchFailed,
            {"divergent barrier", "bugs.cu:19", "bugs.cu:22"}},
        Bug{"bug_diverged_warp",
            32,
            Result::kLaunchFailed,
            {"diverged participation", "lane 5, which has ended"}},
        Bug{"bug_weak_spin", 1, Result::kLaunchFailed, {"spins on a weak load", "bugs.cu:31"}},
        Bug{"bug_lost_signal",
            64,
            Result::kLaunchTimeout,
            {"no kernel has moved", "threads 0 read 0x00000000 again and again",
             "threads 1-63 wait at the block's barrier at bugs.cu:40"}},
        Bug{"bug_endless",
            1,
            Result::kLaunchTimeout,
            {"runs without reading memory", "block 0, thread 0"}},
        Bug{"bug_trap", 32, Result::kIllegalInstruction, {"block 0, thread 9", "traps"}},
        Bug{"bug_stack", 1, Result::kLaunchFailed, {"stack", "CUDASIM_STACK_KB"}},
        Bug{"bug_torn_line", 32, Result::kMisalignedAddress, {"line of 128 bytes"}}),
    [](const auto& info) { return info.param.kernel; });

TEST(CudasimBugs_FreedMemory, IsReported) {
  const Outcome outcome = run({}, [] {
    use_device(0);
    uint32_t* const words = alloc_words(64);
    OK(abi::cuMemFree_v2(address(words)));
    OK(launch("test_fill", 1, 32, FillArgs{words, 64, 1}));
    FAILS(abi::cuCtxSynchronize(), kIllegalAddress);
  });
  EXPECT_TRUE(outcome.ended_well) << outcome.said;
  EXPECT_THAT(outcome.said, AllOf(HasSubstr("use after free"), HasSubstr("by cuMemAlloc")));
}

TEST(CudasimBugs_PeerMemory, NeedsAccess) {
  const Outcome outcome = run({}, [] {
    use_device(0);
    uint32_t* const words = alloc_words(64);
    use_device(1);
    OK(launch("test_fill", 1, 32, FillArgs{words, 64, 1}));
    FAILS(abi::cuCtxSynchronize(), kIllegalAddress);
  });
  EXPECT_TRUE(outcome.ended_well) << outcome.said;
  EXPECT_THAT(outcome.said, AllOf(HasSubstr("no peer access was enabled"), HasSubstr("on device 1"),
                                  HasSubstr("of device 0 by cuMemAlloc")));
}

TEST(CudasimBugs_HostMemory, NeedsRegistration) {
  const Outcome outcome = run({}, [] {
    use_device(0);
    static uint32_t words[64];
    OK(launch("test_fill", 1, 32, FillArgs{words, 64, 1}));
    FAILS(abi::cuCtxSynchronize(), kIllegalAddress);
  });
  EXPECT_TRUE(outcome.ended_well) << outcome.said;
  EXPECT_THAT(outcome.said, HasSubstr("neither allocated nor registered"));
}

TEST(CudasimBugs_DevicePointer, FaultsOnTheHost) {
  const Outcome outcome = run({}, [] {
    use_device(0);
    volatile uint32_t* const words = alloc_words(64);
    words[0] = 1;
  });
  EXPECT_EQ(outcome.signal, SIGSEGV) << outcome.said;
}

TEST(CudasimBugs_NarrowScope, IsReported) {
  const Outcome outcome = run({}, [] {
    const abi::Context first = use_device(0);
    uint32_t* const words = alloc_words(64);
    OK(launch("bug_narrow_scope", 1, 1, WaitArgs{words, words + 1, 3}));
    OK(abi::cuCtxSynchronize());
    use_device(1);
    OK(abi::cuCtxEnablePeerAccess(first, 0));
    OK(launch("test_wait", 1, 1, WaitArgs{words, words + 2, 3}));
    FAILS(abi::cuCtxSynchronize(), kIllegalAddress);
  });
  EXPECT_TRUE(outcome.ended_well) << outcome.said;
  EXPECT_THAT(outcome.said, AllOf(HasSubstr("scope too narrow"), HasSubstr("device 0 accessed it"),
                                  HasSubstr("with gpu scope, system is needed")));
}

TEST(CudasimBugs_MissingBarrier, GivesWrongSums) {
  int wrong = 0;
  for (int seed = 1; seed <= kSeeds; ++seed) {
    const Outcome outcome = run({{"CUDASIM_SEED", std::to_string(seed)}}, [] {
      use_device(0);
      uint32_t* const words = alloc_words(64);
      OK(launch("bug_missing_barrier", 1, 128, SumArgs{nullptr, words}));
      WANT(read_words(words, 1)[0] == 0 + 32 + 64 + 96);
    });
    wrong += outcome.ended_well ? 0 : 1;
  }
  EXPECT_GE(wrong, kSeeds / 2);
}

class WeakBugs : public ::testing::TestWithParam<const char*> {};

// Strong memory hides them; weak memory shows them with some seeds.
int wrong_runs(const char* kernel, const char* weak, int seeds) {
  int wrong = 0;
  for (int seed = 1; seed <= seeds; ++seed) {
    const Env env = {{"CUDASIM_WEAK", weak}, {"CUDASIM_SEED", std::to_string(seed)}};
    const Outcome outcome = run(env, [kernel] {
      const abi::Context first = use_device(0);
      uint32_t* const words = alloc_words(512);
      use_device(1);
      OK(abi::cuCtxEnablePeerAccess(first, 0));
      const auto args = [words](uint32_t writes) {
        return MessageArgs{words, words + 256, words + 320, words + 384, words + 448, 10, writes};
      };
      OK(launch(kernel, 1, 64, args(0), new_stream()));
      use_device(0);
      OK(launch(kernel, 1, 64, args(1), new_stream()));
      OK(abi::cuCtxSynchronize());
      use_device(1);
      OK(abi::cuCtxSynchronize());
      WANT(read_words(words + 384, 1)[0] == 0);
    });
    wrong += outcome.ended_well ? 0 : 1;
  }
  return wrong;
}

TEST_P(WeakBugs, ShowInWeakModeOnly) {
  EXPECT_EQ(wrong_runs(GetParam(), "0", 5), 0);
  EXPECT_GE(wrong_runs(GetParam(), "1", kSeeds), 5);
}

INSTANTIATE_TEST_SUITE_P(Cudasim, WeakBugs,
                         ::testing::Values("bug_missing_release", "bug_missing_acquire",
                                           "bug_narrow_fence"),
                         [](const auto& info) { return std::string(info.param); });

}  // namespace
}  // namespace cudasim::test
