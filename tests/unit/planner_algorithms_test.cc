// SPDX-License-Identifier: Apache-2.0
// Every row of the algorithm table, on many rank counts, roots and channels, run by the reference
// interpreter.
#include <algorithm>
#include <set>
#include <string>
#include <vector>

#include <gtest/gtest.h>

#include "src/planner/planner.h"
#include "tests/support/plan_interpreter.h"

namespace tutti::planner {
namespace {

std::vector<int32_t> rank_counts() {
  std::vector<int32_t> counts{31, 32, 33};
  for (int32_t n = 1; n <= 17; ++n) counts.push_back(n);
  return counts;
}

// Every request that the row supports.
std::vector<PlanRequest> requests(const AlgorithmRow& row) {
  const std::string name = row.name;
  const int32_t max_channels = name == "ring" || name == "tree" ? 3 : 1;
  std::vector<PlanRequest> all;
  for (const int32_t n : rank_counts()) {
    std::set<int32_t> roots{0};
    if (plan::has_root(row.collective)) roots.insert({n / 2, n - 1});
    for (const int32_t root : roots) {
      for (int32_t channels = 1; channels <= max_channels; ++channels) {
        const PlanRequest request{row.collective, n, root, channels};
        if (row.supports(request)) all.push_back(request);
      }
    }
  }
  return all;
}

std::string describe(const PlanRequest& r) {
  return std::to_string(r.n_ranks) + " ranks, root " + std::to_string(r.root) + ", channels " +
         std::to_string(r.channels);
}

class EveryAlgorithm : public testing::TestWithParam<size_t> {
 protected:
  const AlgorithmRow& row() const { return algorithm_table()[GetParam()]; }
};

TEST_P(EveryAlgorithm, Interpreted_ComputesTheCollective) {
  uint64_t seed = 1;
  for (const PlanRequest& request : requests(row())) {
    const plan::Plan plan = row().build(request);
    ASSERT_NO_THROW(plan::check_well_formed(plan)) << describe(request);
    EXPECT_EQ(plan.algorithm, row().name);
    for (const bool in_place : {false, true}) {
      const int32_t slots = in_place ? 2 : plan.slots;
      const test::InterpreterOptions options{
          .slots = slots, .tiles = slots + 1, .in_place = in_place, .seed = ++seed};
      ASSERT_EQ(test::interpret(plan, options), "")
          << describe(request) << ", slots " << slots << (in_place ? ", in place" : "") << "\n"
          << plan::to_text(plan).substr(0, 4000);
    }
  }
}

// Where all ranks of a cycle send before any of them receives, a second slot is needed.
bool needs_two_slots(const AlgorithmRow& row, int32_t n_ranks) {
  const bool all_reduce = row.collective == plan::Collective::kAllReduce;
  return row.name == std::string("ring") && n_ranks > (all_reduce ? 1 : 2);
}

TEST_P(EveryAlgorithm, OneSlot_SufficesWhereDocumented) {
  for (const PlanRequest& request : requests(row())) {
    if (request.n_ranks > 17) continue;
    const std::string fault = test::interpret(row().build(request), {.slots = 1, .tiles = 3});
    if (needs_two_slots(row(), request.n_ranks)) {
      ASSERT_TRUE(fault.starts_with("deadlock")) << describe(request) << ": " << fault;
    } else {
      ASSERT_EQ(fault, "") << describe(request);
    }
  }
}

TEST_P(EveryAlgorithm, Json_RoundTrips) {
  for (const PlanRequest& request : requests(row())) {
    if (request.n_ranks > 9) continue;
    const plan::Plan plan = row().build(request);
    const plan::Plan back = plan::from_json(plan::to_json(plan));
    ASSERT_EQ(back, plan) << describe(request);
    ASSERT_EQ(plan::hash(back), plan::hash(plan));
  }
}

TEST_P(EveryAlgorithm, DifferentRequests_HaveDifferentHashes) {
  std::set<uint64_t> hashes;
  size_t plans = 0;
  for (const PlanRequest& request : requests(row())) {
    if (request.n_ranks == 1 || request.n_ranks > 9) continue;
    hashes.insert(plan::hash(row().build(request)));
    ++plans;
  }
  EXPECT_EQ(hashes.size(), plans);
}

// Whoever relays must know the size of a block that is neither its own nor for it.
TEST_P(EveryAlgorithm, Uneven_NeverRelays) {
  if (!row().uneven) return;
  for (const PlanRequest& request : requests(row())) {
    for (const plan::RankProgram& program : row().build(request).ranks) {
      for (const plan::Lane& lane : program.lanes) {
        for (const plan::Step& step : lane.steps) {
          const auto is_peer = [](const plan::Operand& o) {
            return o.kind == plan::Operand::Kind::kPeer;
          };
          const bool receives = std::any_of(step.sources.begin(), step.sources.end(), is_peer);
          const bool sends = std::any_of(step.sinks.begin(), step.sinks.end(), is_peer);
          ASSERT_FALSE(receives && sends) << describe(request);
        }
      }
    }
  }
}

INSTANTIATE_TEST_SUITE_P(Table, EveryAlgorithm, testing::Range<size_t>(0, algorithm_table().size()),
                         [](const auto& info) {
                           const AlgorithmRow& row = algorithm_table()[info.param];
                           return std::string(plan::name(row.collective)) + "_" + row.name;
                         });

}  // namespace
}  // namespace tutti::planner
