// SPDX-License-Identifier: Apache-2.0
// Clock, deadlines and error texts.
#include <cerrno>
#include <climits>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "src/base/clock.h"
#include "src/base/error.h"
#include "src/base/wait.h"

namespace tutti {
namespace {

using testing::HasSubstr;

TEST(Clock, TwoReadings_NeverGoBack) {
  int64_t last = now_ns();
  EXPECT_GT(last, 0);
  for (int i = 0; i < 1000; ++i) {
    const int64_t now = now_ns();
    ASSERT_GE(now, last);
    last = now;
  }
}

TEST(Clock, SleepFor5Ms_LastsAtLeastThat) {
  const int64_t start = now_ns();
  sleep_ns(5 * kNsPerMs);
  EXPECT_GE(now_ns() - start, 5 * kNsPerMs);
}

TEST(Clock, SleepForNoTime_ReturnsAtOnce) {
  const int64_t start = now_ns();
  sleep_ns(0);
  sleep_ns(-kNsPerSecond);
  EXPECT_LT(now_ns() - start, kNsPerSecond);
}

TEST(Deadline, Never_HasNoEnd) {
  const Deadline never = Deadline::never();
  EXPECT_FALSE(never.expired());
  EXPECT_EQ(never.left_ns(), INT64_MAX);
  EXPECT_EQ(never.left_ms(), -1);
}

TEST(Deadline, AfterMaximum_IsNever) {
  for (const int64_t delay : {INT64_MAX, INT64_MAX - 1, INT64_MAX - now_ns() + kNsPerSecond}) {
    EXPECT_EQ(Deadline::after_ns(delay).time_ns(), INT64_MAX) << delay;
  }
}

TEST(Deadline, AfterNothingOrLess_IsExpired) {
  for (const int64_t delay : {int64_t{0}, int64_t{-1}, INT64_MIN}) {
    const Deadline deadline = Deadline::after_ns(delay);
    EXPECT_TRUE(deadline.expired()) << delay;
    EXPECT_EQ(deadline.left_ns(), 0) << delay;
    EXPECT_EQ(deadline.left_ms(), 0) << delay;
  }
}

TEST(Deadline, InThePast_LeavesNothing) {
  for (const int64_t time : {INT64_MIN, int64_t{-1}, int64_t{0}, int64_t{1}}) {
    EXPECT_TRUE(Deadline::at_ns(time).expired()) << time;
    EXPECT_EQ(Deadline::at_ns(time).left_ns(), 0) << time;
  }
}

TEST(Deadline, LeftMs_RoundsUpAndClamps) {
  EXPECT_EQ(Deadline::at_ns(now_ns() + 10 * kNsPerSecond).left_ms(), 10'000);
  EXPECT_EQ(Deadline::at_ns(INT64_MAX - 1).left_ms(), INT_MAX);
  const Deadline soon = Deadline::after_ns(kNsPerMs);
  const int left = soon.left_ms();
  EXPECT_TRUE(left == 1 || soon.expired());
}

TEST(Deadline, WhenItsTimeHasCome_Expires) {
  const Deadline deadline = Deadline::after_ns(3 * kNsPerMs);
  EXPECT_FALSE(Deadline::after_ns(kNsPerSecond).expired());
  while (!deadline.expired()) {
    ASSERT_LT(now_ns(), deadline.time_ns() + kNsPerSecond);
  }
  EXPECT_GE(now_ns(), deadline.time_ns());
}

TEST(SystemError, KnownNumber_NamesIt) {
  const Error error = system_error("can't open it", ENOENT);
  EXPECT_EQ(error.code(), StatusCode::kSystemError);
  EXPECT_STREQ(error.what(), "can't open it: No such file or directory (ENOENT)");
}

TEST(SystemError, UnknownNumber_PrintsIt) {
  EXPECT_THAT(system_error("x", 123456).what(), HasSubstr("123456"));
}

TEST(Status, Default_IsOk) {
  EXPECT_TRUE(kOkStatus.ok());
  EXPECT_FALSE(kInProgressStatus.ok());
  EXPECT_TRUE(kInProgressStatus.in_progress());
}

}  // namespace
}  // namespace tutti
