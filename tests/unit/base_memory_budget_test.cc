// SPDX-License-Identifier: Apache-2.0
// The memory account: caps, messages, and concurrent charges.
#include <thread>
#include <vector>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "src/base/memory_budget.h"
#include "tests/unit/base_test_support.h"

namespace tutti {
namespace {

using testing::AllOf;
using testing::HasSubstr;

TEST(MemoryBudget, ChargeAboveTheCap_ThrowsAndChargesNothing) {
  MemoryBudget budget(100);
  budget.charge(MemoryUse::kScratch, 60, "slots");
  const auto error = error_of([&] { budget.charge(MemoryUse::kScratch, 41, "scratch"); });
  ASSERT_TRUE(error.has_value());
  EXPECT_EQ(error->code(), StatusCode::kSystemError);
  EXPECT_THAT(error->what(), AllOf(HasSubstr("scratch"), HasSubstr("41"), HasSubstr("60 of 100"),
                                   HasSubstr("TUTTI_MEMORY_CAP")));
  EXPECT_EQ(budget.used_bytes(), 60u);
  budget.charge(MemoryUse::kScratch, 40, "scratch");
  EXPECT_EQ(budget.used_bytes(), 100u);
  budget.credit(MemoryUse::kScratch, 100);
  EXPECT_EQ(budget.used_bytes(), 0u);
  budget.charge(MemoryUse::kScratch, 10, "slots");
  EXPECT_EQ(budget.peak_bytes(), 100u);
}

TEST(MemoryBudget, ChargeThatWouldWrapAround_Throws) {
  MemoryBudget budget;
  budget.charge(MemoryUse::kScratch, 10, "a");
  EXPECT_TRUE(error_of([&] { budget.charge(MemoryUse::kScratch, SIZE_MAX, "b"); }).has_value());
  EXPECT_EQ(budget.used_bytes(), 10u);
}

TEST(MemoryCharge, MovedAndDropped_CreditsOnce) {
  MemoryBudget budget(100);
  {
    MemoryCharge a(budget, MemoryUse::kScratch, 30, "a");
    MemoryCharge b(budget, MemoryUse::kScratch, 20, "b");
    EXPECT_EQ(budget.used_bytes(), 50u);
    b = std::move(a);
    EXPECT_EQ(budget.used_bytes(), 30u);
    const MemoryCharge c(std::move(b));
    EXPECT_EQ(budget.used_bytes(), 30u);
  }
  EXPECT_EQ(budget.used_bytes(), 0u);
}

TEST(MemoryBudget, ManyThreads_NeverExceedTheCap) {
  constexpr int kThreads = 4;
  constexpr int kRounds = 5000;
  MemoryBudget budget(3);
  std::vector<std::thread> threads;
  threads.reserve(kThreads);
  for (int t = 0; t < kThreads; ++t) {
    threads.emplace_back([&] {
      for (int i = 0; i < kRounds; ++i) {
        const auto refused = error_of([&] {
          const MemoryCharge charge(budget, MemoryUse::kScratch, 2, "round");
          EXPECT_LE(budget.used_bytes(), 3u);
        });
        EXPECT_EQ(refused ? refused->code() : StatusCode::kSystemError, StatusCode::kSystemError);
      }
    });
  }
  for (std::thread& thread : threads) thread.join();
  EXPECT_EQ(budget.used_bytes(), 0u);
}

}  // namespace
}  // namespace tutti
