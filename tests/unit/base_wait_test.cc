// SPDX-License-Identifier: Apache-2.0
// Futexes, doorbells and the idle strategy; a lost wake-up shows as a sleep longer than the test's
// deadline.
#include <array>
#include <new>
#include <thread>
#include <vector>

#include <gtest/gtest.h>

#include "src/base/file.h"
#include "src/base/shared_bell.h"
#include "src/base/wait.h"
#include "tests/unit/base_test_support.h"

namespace tutti {
namespace {

constexpr int64_t kTestNs = 20 * kNsPerSecond;
constexpr uint64_t kRounds = 20'000;

// Sleeps that only a ring ends within the test's time.
constexpr int64_t kLongSleepNs = 10 * kTestNs;

struct NamedPolicy {
  const char* name;
  IdlePolicy policy;
};
constexpr NamedPolicy kPolicies[] = {
    {"SleepsAtOnce", {.spin_rounds = 0, .yield_rounds = 0, .sleep_max_ns = kLongSleepNs}},
    {"SpinsBriefly", {.spin_rounds = 40, .yield_rounds = 0, .sleep_max_ns = kLongSleepNs}},
    {"YieldsBriefly", {.spin_rounds = 3, .yield_rounds = 2, .sleep_max_ns = kLongSleepNs}},
};

// False when the deadline expired first.
template <typename Ready>
bool wait_for(Ready&& ready, Doorbell* bell, IdleStrategy& idle, Deadline deadline) {
  while (!ready()) {
    if (idle.idle(bell) && deadline.expired()) return false;
  }
  idle.reset();
  return true;
}

// Two players' counters and bells, in memory that both map.
struct Table {
  struct alignas(kFalseSharingBytes) Side {
    std::atomic<uint64_t> count{
        0};                // release by its owner pairs with the other side's acquire in play()
    uint64_t payload = 0;  // written before `count`
    Doorbell bell;
  };
  std::array<Side, 2> sides;
};

// Side 0 serves; each round a side waits for the other's count, checks the payload, and answers.
// Returns the round that failed, 0 for none.
uint64_t play(Table& table, size_t side, const IdlePolicy& policy, uint64_t rounds) {
  Table::Side& mine = table.sides[side];
  Table::Side& other = table.sides[1 - side];
  const Deadline deadline = Deadline::after_ns(kTestNs);
  IdleStrategy idle(policy);
  for (uint64_t round = 1; round <= rounds; ++round) {
    const auto answer = [&] {
      mine.payload = round * 3 + side;
      mine.count.store(round, std::memory_order_release);
      ring(other.bell);
    };
    if (side == 0) answer();
    const auto came = [&] { return other.count.load(std::memory_order_acquire) >= round; };
    if (!wait_for(came, &mine.bell, idle, deadline)) return round;
    if (other.payload != round * 3 + (1 - side)) return round;
    if (side == 1) answer();
  }
  return 0;
}

class PingPong : public testing::TestWithParam<NamedPolicy> {};

TEST_P(PingPong, BetweenThreads_LosesNoWakeUp) {
  register_ringer();
  Table table;
  uint64_t failed = 0;
  std::thread other([&] { failed = play(table, 1, GetParam().policy, kRounds); });
  EXPECT_EQ(play(table, 0, GetParam().policy, kRounds), 0u);
  other.join();
  EXPECT_EQ(failed, 0u);
  for (const Table::Side& side : table.sides)
    EXPECT_EQ(side.bell.sleepers.load(std::memory_order_relaxed), 0u);
}

TEST_P(PingPong, BetweenProcesses_LosesNoWakeUp) {
  register_ringer();
  const FileDescriptor fd = create_sealed_memfd("tutti-test", sizeof(Table));
  const Mapping mapping(fd.get(), sizeof(Table));
  Table& table = *new (mapping.data()) Table;
  const pid_t child = fork_child([&] {
    register_ringer();
    return play(table, 1, GetParam().policy, kRounds) == 0 ? 0 : 1;
  });
  EXPECT_EQ(play(table, 0, GetParam().policy, kRounds), 0u);
  EXPECT_EQ(exit_status(child), 0);
}

INSTANTIATE_TEST_SUITE_P(Wait, PingPong, testing::ValuesIn(kPolicies),
                         [](const auto& info) { return std::string(info.param.name); });

TEST(Doorbell, ManySleepers_AllWakeAtOneRing) {
  register_ringer();
  constexpr int kThreads = 6;
  constexpr uint32_t kTurns = 200;
  Doorbell bell;
  std::atomic<uint32_t> turn{0};  // release below pairs with acquire in the threads
  std::atomic<uint32_t> seen{0};  // release in the threads pairs with acquire below
  std::vector<std::thread> threads;
  threads.reserve(kThreads);
  for (int t = 0; t < kThreads; ++t) {
    threads.emplace_back([&] {
      IdleStrategy idle(kPolicies[0].policy);
      const Deadline deadline = Deadline::after_ns(kTestNs);
      for (uint32_t i = 1; i <= kTurns; ++i) {
        ASSERT_TRUE(wait_for([&] { return turn.load(std::memory_order_acquire) >= i; }, &bell, idle,
                             deadline));
        seen.fetch_add(1, std::memory_order_release);
      }
    });
  }
  IdleStrategy idle(IdlePolicy{});
  for (uint32_t i = 1; i <= kTurns; ++i) {
    turn.store(i, std::memory_order_release);
    ring(bell);
    const auto all = [&] { return seen.load(std::memory_order_acquire) == i * kThreads; };
    EXPECT_TRUE(wait_for(all, nullptr, idle, Deadline::after_ns(kTestNs)));
  }
  for (std::thread& thread : threads) thread.join();
  EXPECT_EQ(bell.sleepers.load(std::memory_order_relaxed), 0u);
}

TEST(Doorbell, RungWithoutSleepers_StaysUntouched) {
  Doorbell bell;
  ring(bell);
  EXPECT_EQ(bell.rings.load(std::memory_order_relaxed), 0u);
}

TEST(IdleStrategy, Phases_SayWhenToLookAtTheClock) {
  IdleStrategy idle({.spin_rounds = 2050, .yield_rounds = 20, .sleep_max_ns = kNsPerMs});
  Doorbell bell;
  for (int call = 1; call <= 2050; ++call) ASSERT_EQ(idle.idle(&bell), call % 1024 == 0) << call;
  for (int call = 1; call <= 20; ++call) ASSERT_EQ(idle.idle(&bell), call > 16) << call;
  EXPECT_EQ(bell.sleepers.load(std::memory_order_relaxed), 0u);
  EXPECT_FALSE(idle.idle(&bell)) << "announces only";
  EXPECT_EQ(bell.sleepers.load(std::memory_order_relaxed), 1u);
  for (int sleep = 0; sleep < 3; ++sleep) {
    const int64_t start = now_ns();
    EXPECT_TRUE(idle.idle(&bell));
    EXPECT_GE(now_ns() - start, kNsPerMs / 2) << "slept";
    EXPECT_EQ(bell.sleepers.load(std::memory_order_relaxed), 1u);
  }
  idle.reset();
  EXPECT_EQ(bell.sleepers.load(std::memory_order_relaxed), 0u);
  EXPECT_FALSE(idle.idle(&bell)) << "spins again";
  EXPECT_EQ(bell.sleepers.load(std::memory_order_relaxed), 0u);
}

TEST(IdleStrategy, RungBetweenAnnouncingAndSleeping_DoesNotSleep) {
  Doorbell bell;
  IdleStrategy idle({.spin_rounds = 0, .yield_rounds = 0, .sleep_max_ns = kLongSleepNs});
  EXPECT_FALSE(idle.idle(&bell));
  ring(bell);
  const int64_t start = now_ns();
  EXPECT_TRUE(idle.idle(&bell));
  EXPECT_LT(now_ns() - start, kTestNs);
}

TEST(IdleStrategy, AnotherBell_MovesTheSleeper) {
  Doorbell a;
  Doorbell b;
  {
    IdleStrategy idle({.spin_rounds = 0, .yield_rounds = 0, .sleep_max_ns = kNsPerMs});
    idle.idle(&a);
    EXPECT_EQ(a.sleepers.load(std::memory_order_relaxed), 1u);
    idle.idle(&b);
    EXPECT_EQ(a.sleepers.load(std::memory_order_relaxed), 0u);
    EXPECT_EQ(b.sleepers.load(std::memory_order_relaxed), 1u);
  }
  EXPECT_EQ(b.sleepers.load(std::memory_order_relaxed), 0u);
}

TEST(IdleStrategy, WithoutABell_Naps) {
  IdleStrategy idle({.spin_rounds = 0, .yield_rounds = 0});
  const int64_t start = now_ns();
  EXPECT_TRUE(idle.idle(nullptr));
  EXPECT_GE(now_ns() - start, 100 * kNsPerUs);
}

TEST(IdlePolicy, MoreRanksThanCores_DoesNotSpin) {
  const IdlePolicy roomy = IdlePolicy::for_load(2, 2);
  const IdlePolicy crowded = IdlePolicy::for_load(8, 2);
  EXPECT_GE(roomy.spin_rounds, 100u);
  EXPECT_EQ(crowded.spin_rounds, 0u);
  EXPECT_GT(crowded.yield_rounds, 0u);
}

TEST(FutexWait, OtherValue_ReturnsAtOnce) {
  const std::atomic<uint32_t> word{1};
  const int64_t start = now_ns();
  futex_wait(word, 2, Deadline::never());
  EXPECT_LT(now_ns() - start, kTestNs);
}

TEST(FutexWait, NobodyWakes_EndsAtTheDeadline) {
  const std::atomic<uint32_t> word{1};
  const Deadline deadline = Deadline::after_ns(5 * kNsPerMs);
  while (!deadline.expired()) futex_wait(word, 1, deadline);
  EXPECT_LT(now_ns(), deadline.time_ns() + kTestNs);
  futex_wait(word, 1, Deadline::at_ns(0));
}

}  // namespace
}  // namespace tutti
