// SPDX-License-Identifier: Apache-2.0
// Futexes, doorbells and the idle strategy. A lost wake-up is seen as such, a sleep that its timer
// ended although what it waited for had come; a machine that stands still for a while is not one.
#include <array>
#include <iostream>
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

constexpr int64_t kWaitNs = 20 * kNsPerSecond;  // of one wait, whatever the machine does meanwhile
constexpr uint64_t kRounds = 20'000;

// Far longer than any of the test's rounds: a sleep that lasts so long was not woken.
constexpr int64_t kLongSleepNs = 2 * kNsPerSecond;
// What a writer may take from publishing to ringing, should the machine stand still in between.
constexpr int64_t kRingNs = kNsPerSecond;

struct NamedPolicy {
  const char* name;
  IdlePolicy policy;
};
constexpr NamedPolicy kPolicies[] = {
    {"SleepsAtOnce", {.spin_rounds = 0, .yield_rounds = 0, .sleep_max_ns = kLongSleepNs}},
    {"SpinsBriefly", {.spin_rounds = 40, .yield_rounds = 0, .sleep_max_ns = kLongSleepNs}},
    {"YieldsBriefly", {.spin_rounds = 3, .yield_rounds = 2, .sleep_max_ns = kLongSleepNs}},
};

enum class Came { kInTime, kWithoutRing, kTooLate };

// Waits until ready(); kWithoutRing when the wait ended only because a sleep's time was up.
template <typename Ready>
Came wait_for(Ready&& ready, Doorbell& bell, IdleStrategy& idle) {
  const Deadline deadline = Deadline::after_ns(kWaitNs);
  while (!ready()) {
    const uint32_t rings = bell.rings.load(std::memory_order_acquire);  // pairs with ring_sleepers
    const auto rung = [&] { return bell.rings.load(std::memory_order_acquire) != rings; };
    const int64_t start = now_ns();
    const bool look = idle.idle(&bell);
    if (now_ns() - start >= kLongSleepNs && !rung() && ready()) {
      sleep_ns(kRingNs);
      if (!rung()) return Came::kWithoutRing;
    }
    if (look && deadline.expired()) return Came::kTooLate;
  }
  idle.reset();
  return Came::kInTime;
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

// How a player's game went: every round, or until the one that failed.
struct Game {
  uint64_t rounds = 0;
  Came last = Came::kInTime;
  bool payload_right = true;

  bool whole() const { return rounds == kRounds && last == Came::kInTime && payload_right; }
};

std::ostream& operator<<(std::ostream& out, const Game& game) {
  if (game.whole()) return out << "every round";
  out << game.rounds << " rounds, then ";
  if (!game.payload_right) return out << "a count came before its payload";
  return out << (game.last == Came::kWithoutRing ? "a count came and no ring woke the sleeper"
                                                 : "no count came in time");
}

// Side 0 serves; each round a side waits for the other's count, checks the payload, and answers.
Game play(Table& table, size_t side, const IdlePolicy& policy) {
  Table::Side& mine = table.sides[side];
  Table::Side& other = table.sides[1 - side];
  IdleStrategy idle(policy);
  Game game;
  for (uint64_t round = 1; round <= kRounds; ++round) {
    const auto answer = [&] {
      mine.payload = round * 3 + side;
      mine.count.store(round, std::memory_order_release);
      ring(other.bell);
    };
    if (side == 0) answer();
    const auto came = [&] { return other.count.load(std::memory_order_acquire) >= round; };
    game.last = wait_for(came, mine.bell, idle);
    if (game.last != Came::kInTime) return game;
    game.payload_right = other.payload == round * 3 + (1 - side);
    if (!game.payload_right) return game;
    if (side == 1) answer();
    game.rounds = round;
  }
  return game;
}

class PingPong : public testing::TestWithParam<NamedPolicy> {};

TEST_P(PingPong, BetweenThreads_LosesNoWakeUp) {
  register_ringer();
  Table table;
  Game others;
  std::thread other([&] { others = play(table, 1, GetParam().policy); });
  const Game game = play(table, 0, GetParam().policy);
  other.join();
  EXPECT_TRUE(game.whole()) << "side 0: " << game;
  EXPECT_TRUE(others.whole()) << "side 1: " << others;
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
    const Game game = play(table, 1, GetParam().policy);
    if (!game.whole()) std::cerr << "side 1: " << game << '\n';
    return game.whole() ? 0 : 1;
  });
  const Game game = play(table, 0, GetParam().policy);
  EXPECT_TRUE(game.whole()) << "side 0: " << game;
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
      for (uint32_t i = 1; i <= kTurns; ++i) {
        const auto begun = [&] { return turn.load(std::memory_order_acquire) >= i; };
        ASSERT_EQ(wait_for(begun, bell, idle), Came::kInTime) << "turn " << i;
        seen.fetch_add(1, std::memory_order_release);
      }
    });
  }
  for (uint32_t i = 1; i <= kTurns; ++i) {
    turn.store(i, std::memory_order_release);
    ring(bell);
    const Deadline deadline = Deadline::after_ns(kWaitNs);
    while (seen.load(std::memory_order_acquire) != i * kThreads && !deadline.expired())
      yield_core();
    EXPECT_EQ(seen.load(std::memory_order_acquire), i * kThreads) << "turn " << i;
    if (testing::Test::HasFailure()) break;
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
  IdleStrategy idle({.spin_rounds = 0, .yield_rounds = 0, .sleep_max_ns = 10 * kWaitNs});
  EXPECT_FALSE(idle.idle(&bell));
  ring(bell);
  const int64_t start = now_ns();
  EXPECT_TRUE(idle.idle(&bell));
  EXPECT_LT(now_ns() - start, kWaitNs);
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
  EXPECT_LT(now_ns() - start, kWaitNs);
}

TEST(FutexWait, NobodyWakes_EndsAtTheDeadline) {
  const std::atomic<uint32_t> word{1};
  const Deadline deadline = Deadline::after_ns(5 * kNsPerMs);
  while (!deadline.expired()) futex_wait(word, 1, deadline);
  EXPECT_LT(now_ns(), deadline.time_ns() + kWaitNs);
  futex_wait(word, 1, Deadline::at_ns(0));
}

}  // namespace
}  // namespace tutti
