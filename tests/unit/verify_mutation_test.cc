// SPDX-License-Identifier: Apache-2.0
// Thousands of plans broken at random: whatever a run on numbers shows to be wrong, the verifier
// must have refused, and whatever order of folding it proves, a run shows.
#include <map>
#include <string>
#include <vector>

#include <gtest/gtest.h>

#include "perf/broken_plans.h"
#include "src/planner/planner.h"
#include "src/verify/verifier.h"
#include "tests/support/brute_force.h"
#include "tests/support/hand_plans.h"
#include "tests/support/mutate.h"

namespace tutti::testing {
namespace {

constexpr int kMutants = 20000;
constexpr uint64_t kSchedulesOfAccepted = 24;
constexpr uint64_t kSchedulesOfRejected = 8;

std::vector<Plan> base_plans() {
  std::vector<Plan> plans = hand_plans();
  for (const planner::AlgorithmRow& row : planner::algorithm_table())
    for (int32_t n = 2; n <= 5; ++n) {
      const planner::PlanRequest request{row.collective, n,
                                         plan::has_root(row.collective) ? n - 1 : 0, 1};
      if (row.supports(request)) plans.push_back(row.build(request));
    }
  return plans;
}

// What went wrong under one schedule; references as the verdict allows them, if there is one.
std::string run(const Plan& plan, uint64_t seed, const verify::Verdict* verdict) {
  BruteForceOptions options{.seed = seed,
                            .tiles = 2 + static_cast<int32_t>(seed % 2),
                            .extra_slots = static_cast<int32_t>(seed % 3),
                            .some_chunks_empty = seed % 4 == 3};
  if (verdict != nullptr && seed % 2 == 0)
    options.by_reference = [verdict](int32_t source, int32_t sink, int32_t channel, bool in_place) {
      for (const verify::ConnectionVerdict& c : verdict->connections)
        if (c.source_rank == source && c.sink_rank == sink && c.channel == channel)
          return in_place ? c.reference_safe_in_place : c.reference_safe_out_of_place;
      return false;
    };
  return BruteForce(plan, options).run();
}

std::string title(const Plan& plan) {
  return std::string(plan::name(plan.shape.collective)) + " " + plan.algorithm;
}

bool is_well_formed(const Plan& plan) {
  try {
    plan::check_well_formed(plan);
    return true;
  } catch (const std::exception&) {
    return false;
  }
}

// The order of folding that runs show: the bits of an ordered sum, and those after rounding.
verify::FoldOrder shown_order(const Plan& plan) {
  const auto right = [&](Sums sums) {
    for (uint64_t seed = 0; seed < 3; ++seed)
      if (!BruteForce(plan, {.seed = seed, .tiles = 2, .sums = sums}).run().empty()) return false;
    return true;
  };
  if (!right(Sums::kOrdered)) return verify::FoldOrder::kAny;
  return right(Sums::kOrderedNarrow) ? verify::FoldOrder::kInOrderOnce
                                     : verify::FoldOrder::kInOrder;
}

struct Tally {
  int accepted = 0;
  int malformed = 0;
  int rejected = 0;                         // well formed, and refused
  int rejected_wrong = 0;                   // of those, shown wrong by a run
  int needing_slots = 0;                    // accepted, and need more than one slot
  std::map<verify::FoldOrder, int> orders;  // of those accepted that reduce among several ranks
};

void judge(const Plan& mutant, Tally* tally) {
  const verify::Verdict verdict = verify::verify(mutant);
  if (verdict.accepted) {
    ++tally->accepted;
    ASSERT_EQ(verdict.fold_order, shown_order(mutant)) << plan::to_text(mutant);
    if (plan::reduces(mutant.shape.collective)) ++tally->orders[verdict.fold_order];
    for (uint64_t seed = 0; seed < kSchedulesOfAccepted; ++seed)
      ASSERT_EQ(run(mutant, seed, &verdict), "") << "seed " << seed << "\n"
                                                 << plan::to_text(mutant);
    ASSERT_LE(verdict.min_slots, mutant.slots);
    Plan tight = mutant;
    tight.slots = verdict.min_slots;
    ASSERT_EQ(run(tight, 0, nullptr), "") << "at min_slots\n" << plan::to_text(mutant);
    if (--tight.slots > 0) {
      ++tally->needing_slots;
      ASSERT_EQ(run(tight, 0, nullptr), "deadlock") << plan::to_text(mutant);
    }
    return;
  }
  ASSERT_NE(verdict.reason, "");
  if (!is_well_formed(mutant)) {
    ++tally->malformed;
    return;
  }
  ++tally->rejected;
  for (uint64_t seed = 0; seed < kSchedulesOfRejected; ++seed) {
    if (run(mutant, seed, nullptr).empty()) continue;
    ++tally->rejected_wrong;
    return;
  }
}

TEST(Verifier_PlannedPlans, AreAcceptedAndRunRight) {
  for (const Plan& plan : base_plans()) {
    Tally tally;
    judge(plan, &tally);
    EXPECT_EQ(tally.accepted, 1) << verify::verify(plan).reason << "\n" << plan::to_text(plan);
  }
}

TEST(Verifier_Mutants, HarmfulOnesAreAllRejected) {
  const std::vector<Plan> bases = base_plans();
  Mutator mutator(20240229);
  Tally tally;
  std::map<std::string, int> wrong_by_algorithm;
  for (int i = 0; i < kMutants && !HasFatalFailure(); ++i) {
    const Plan& base = bases[i % bases.size()];
    const int before = tally.rejected_wrong;
    judge(mutator.mutate(base), &tally);
    wrong_by_algorithm[title(base)] += tally.rejected_wrong - before;
  }
  if (HasFatalFailure()) return;
  RecordProperty("accepted", tally.accepted);
  RecordProperty("malformed", tally.malformed);
  RecordProperty("rejected", tally.rejected);
  RecordProperty("rejected_wrong", tally.rejected_wrong);
  // Neither the verifier refuses everything, nor are its refusals for nothing, nor is the judge
  // blind.
  EXPECT_GE(tally.accepted, kMutants / 50);
  EXPECT_GE(tally.rejected, kMutants / 4);
  EXPECT_GE(tally.rejected_wrong, tally.rejected * 3 / 4);
  // Nor is any algorithm, kind of mutation or order of folding left out.
  for (const Plan& base : bases) EXPECT_GE(wrong_by_algorithm[title(base)], 20) << title(base);
  EXPECT_GE(tally.needing_slots, kMutants / 100);
  EXPECT_EQ(mutator.kinds().size(), 7u);
  for (const auto& [kind, count] : mutator.kinds()) EXPECT_GE(count, kMutants / 40) << kind;
  for (const auto order :
       {verify::FoldOrder::kAny, verify::FoldOrder::kInOrder, verify::FoldOrder::kInOrderOnce})
    EXPECT_GE(tally.orders[order], kMutants / 200) << verify::name(order);
}

// What `tutti plan verify --self-test` rests on.
TEST(Verifier_BrokenVariants, AreAllRejected) {
  for (const Plan& plan : base_plans()) {
    for (const command::BrokenVariant& variant : command::broken_variants()) {
      const auto broken = variant.make(plan);
      if (!broken) continue;
      EXPECT_FALSE(verify::verify(*broken).accepted) << variant.name << "\n"
                                                     << plan::to_text(*broken);
    }
  }
}

}  // namespace
}  // namespace tutti::testing
