// SPDX-License-Identifier: Apache-2.0
// Plans of every row for ranks in another order.
#include <algorithm>
#include <numeric>
#include <random>
#include <string>
#include <vector>

#include <gtest/gtest.h>

#include "src/base/error.h"
#include "src/plan/renamed.h"
#include "src/planner/planner.h"
#include "src/verify/verifier.h"
#include "tests/support/hand_plans.h"

namespace tutti::plan {
namespace {

constexpr int32_t kRanks = 6;
constexpr int32_t kRoot = 2;

std::vector<int32_t> shuffled(uint64_t seed) {
  std::vector<int32_t> ranks(kRanks);
  std::iota(ranks.begin(), ranks.end(), 0);
  std::mt19937_64 random(seed);
  std::ranges::shuffle(ranks, random);
  return ranks;
}

std::vector<int32_t> inverse(const std::vector<int32_t>& of) {
  std::vector<int32_t> back(of.size());
  for (size_t i = 0; i < of.size(); ++i) back[static_cast<size_t>(of[i])] = static_cast<int32_t>(i);
  return back;
}

class RenamedRow : public ::testing::TestWithParam<const planner::AlgorithmRow*> {};

TEST_P(RenamedRow, ShuffledRanks_IsProvedAndLeadsBack) {
  const planner::AlgorithmRow& row = *GetParam();
  const planner::PlanRequest request{.collective = row.collective,
                                     .n_ranks = kRanks,
                                     .root = has_root(row.collective) ? kRoot : 0,
                                     .channels = 2};
  if (!row.supports(request)) GTEST_SKIP() << "needs " << row.limits;
  const Plan plan = row.build(request);
  for (uint64_t seed = 1; seed <= 5; ++seed) {
    const std::vector<int32_t> ranks = shuffled(seed);
    const Plan other = renamed(plan, ranks);
    const verify::Verdict verdict = verify::verify(other);
    EXPECT_TRUE(verdict.accepted) << verdict.reason;
    if (has_root(row.collective)) {
      EXPECT_EQ(other.shape.root, ranks[kRoot]);
    }
    EXPECT_EQ(renamed(other, inverse(ranks)), plan);
  }
}

std::vector<const planner::AlgorithmRow*> rows() {
  std::vector<const planner::AlgorithmRow*> all;
  for (const planner::AlgorithmRow& row : planner::algorithm_table()) all.push_back(&row);
  return all;
}
INSTANTIATE_TEST_SUITE_P(Table, RenamedRow, ::testing::ValuesIn(rows()), [](const auto& info) {
  return std::string(name(info.param->collective)) + "_" + info.param->name;
});

TEST(Renamed, SwitchChannels_GoWithTheirRanks) {
  const Plan plan = testing::switch_all_reduce(3);
  const std::vector<int32_t> ranks = {2, 0, 1};
  const Plan other = renamed(plan, ranks);
  EXPECT_NO_THROW(check_well_formed(other));
  ASSERT_EQ(other.switch_channels.size(), plan.switch_channels.size());
  for (const SwitchChannel& channel : plan.switch_channels) {
    SwitchChannel wanted = channel;
    wanted.rank = ranks[static_cast<size_t>(channel.rank)];
    EXPECT_TRUE(std::ranges::find(other.switch_channels, wanted) != other.switch_channels.end());
  }
}

TEST(Renamed, NoPermutation_IsRefused) {
  const Plan plan = testing::switch_all_reduce(3);
  const std::vector<int32_t> faults[] = {{0, 1}, {0, 1, 1}, {0, 1, 3}, {0, 1, -1}, {0, 1, 2, 3}};
  for (const auto& ranks : faults) {
    EXPECT_THROW((void)renamed(plan, ranks), Error);
  }
}

}  // namespace
}  // namespace tutti::plan
