// SPDX-License-Identifier: Apache-2.0
// Fates that the chaos switch deals: settings as text, what a seed repeats, each setting by itself.
#include "tests/hosts/chaos_policy.h"

#include <algorithm>
#include <string>
#include <vector>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace chaos {
namespace {

using ::testing::HasSubstr;
using ::testing::IsEmpty;

constexpr int64_t kMs = 1'000'000;
constexpr size_t kFrameBytes = 1000;

Direction with(const std::vector<std::string>& settings, uint64_t seed = 7) {
  Direction direction(seed);
  for (const std::string& setting : settings)
    EXPECT_THAT(apply_setting(direction.policy, setting), IsEmpty());
  return direction;
}

// One frame each millisecond.
std::vector<Direction::Fate> fates(Direction& direction, int n) {
  std::vector<Direction::Fate> result;
  for (int i = 0; i < n; ++i) result.push_back(direction.decide(i * kMs, kFrameBytes));
  return result;
}

TEST(ChaosSettings_Text_ComesBackAsSettings, EachOne) {
  Policy policy;
  for (const char* setting : {"delay=20ms", "jitter=500us", "loss=2%", "duplicate=0.01",
                              "reorder=1%", "hold=3ms", "rate=100mbit", "limit=64k", "hole=1"})
    EXPECT_THAT(apply_setting(policy, setting), IsEmpty()) << setting;
  EXPECT_EQ(to_text(policy),
            "delay=20000000ns jitter=500000ns loss=0.02 duplicate=0.01 reorder=0.01 hold=3000000ns "
            "rate=100000000bit limit=65536 hole=1");
}

TEST(ChaosSettings_Nonsense_IsExplainedAndChangesNothing, EachOne) {
  Policy policy;
  const std::string before = to_text(policy);
  EXPECT_THAT(apply_setting(policy, "delay"), HasSubstr("expected NAME=VALUE"));
  EXPECT_THAT(apply_setting(policy, "delay=5"), HasSubstr("no number with a unit"));
  EXPECT_THAT(apply_setting(policy, "delay=-5ms"), HasSubstr("out of range"));
  EXPECT_THAT(apply_setting(policy, "loss=101%"), HasSubstr("out of range"));
  EXPECT_THAT(apply_setting(policy, "hole=2"), HasSubstr("out of range"));
  EXPECT_THAT(apply_setting(policy, "bad=1"), HasSubstr("no setting 'bad'"));
  EXPECT_EQ(to_text(policy), before);
}

TEST(ChaosDirection_SameSeed_DealsTheSameFates, AnotherSeedOthers) {
  const std::vector<std::string> settings = {"loss=10%", "jitter=2ms", "delay=5ms", "duplicate=5%",
                                             "reorder=5%"};
  Direction first = with(settings, 1), again = with(settings, 1), other = with(settings, 2);
  const auto a = fates(first, 500), b = fates(again, 500), c = fates(other, 500);
  int differing = 0;
  for (size_t i = 0; i < a.size(); ++i) {
    EXPECT_EQ(a[i].copies, b[i].copies);
    EXPECT_EQ(a[i].at_ns, b[i].at_ns);
    differing += a[i].copies != c[i].copies ? 1 : 0;
  }
  EXPECT_GT(differing, 30);
}

TEST(ChaosDirection_LossAndOtherSettings_DoNotDisturbEachOther, SameFramesAreLost) {
  Direction plain = with({"loss=10%"}), busy = with({"loss=10%", "jitter=1ms", "duplicate=50%"});
  const auto a = fates(plain, 500), b = fates(busy, 500);
  for (size_t i = 0; i < a.size(); ++i) EXPECT_EQ(a[i].copies == 0, b[i].copies == 0) << i;
  EXPECT_GT(plain.counters().lost, 30U);
  EXPECT_LT(plain.counters().lost, 80U);
}

TEST(ChaosDirection_Jitter_StaysNearTheDelayAndInOrder, EachFrame) {
  Direction direction = with({"delay=10ms", "jitter=4ms"});
  int64_t last = 0;
  for (int i = 0; i < 300; ++i) {
    const Direction::Fate fate = direction.decide(i * kMs, kFrameBytes);
    ASSERT_EQ(fate.copies, 1);
    EXPECT_GE(fate.at_ns[0], std::max(last, i * kMs + 6 * kMs));
    EXPECT_LE(fate.at_ns[0], i * kMs + 14 * kMs);
    last = fate.at_ns[0];
  }
}

TEST(ChaosDirection_HeldBackFrames_AreOvertaken, AndCounted) {
  Direction direction = with({"reorder=20%", "hold=5ms"});
  uint64_t held_back = 0;
  for (int i = 0; i < 200; ++i)
    held_back += direction.decide(i * kMs, kFrameBytes).at_ns[0] == i * kMs + 5 * kMs ? 1 : 0;
  EXPECT_EQ(held_back, direction.counters().held_back);
  EXPECT_GT(held_back, 15U);
}

TEST(ChaosDirection_Rate_SpacesFramesAndDropsWhatTheQueueCannotHold, Burst) {
  Direction direction = with({"rate=8mbit", "limit=10000"});  // 1000 bytes take 1 ms
  int passed = 0;
  for (int i = 0; i < 50; ++i) {
    const Direction::Fate fate = direction.decide(0, kFrameBytes);
    if (fate.copies == 0) continue;
    ++passed;
    EXPECT_EQ(fate.at_ns[0], passed * kMs);
  }
  EXPECT_EQ(passed, 11);
  EXPECT_EQ(direction.counters().overflowed, 39U);
}

TEST(ChaosDirection_Hole_SwallowsEverything, UntilItIsTakenBack) {
  Direction direction = with({"hole=1"});
  for (const Direction::Fate& fate : fates(direction, 20)) EXPECT_EQ(fate.copies, 0);
  EXPECT_THAT(apply_setting(direction.policy, "hole=0"), IsEmpty());
  EXPECT_EQ(direction.decide(0, kFrameBytes).copies, 1);
  EXPECT_EQ(direction.counters().swallowed, 20U);
}

}  // namespace
}  // namespace chaos
