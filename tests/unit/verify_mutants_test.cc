// SPDX-License-Identifier: Apache-2.0
// Plans broken at random, judged by running them: what goes wrong in any interleaving, the verifier
// must have refused. TUTTI_TEST_MUTANTS says how many, TUTTI_TEST_SEED where to begin.
#include <cstdio>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <map>
#include <sstream>
#include <string>
#include <vector>

#include <gtest/gtest.h>

#include "src/plan/msccl_xml.h"
#include "src/planner/planner.h"
#include "src/verify/verifier.h"
#include "tests/support/hand_plans.h"
#include "tests/support/interleaver.h"
#include "tests/support/mutate.h"

namespace tutti::testing {
namespace {

constexpr uint64_t kInterleavingsOfAccepted = 24;
constexpr uint64_t kInterleavingsOfRejected = 8;

uint64_t number_from_environment(const char* name, uint64_t otherwise) {
  const char* text = std::getenv(name);
  return text == nullptr ? otherwise : std::strtoull(text, nullptr, 10);
}

// By hand, by the planner, and those of the planner as MSCCL's steps: many lanes, waits and
// scratch.
std::vector<Plan> good_plans() {
  std::vector<Plan> plans = hand_plans();
  for (const planner::AlgorithmRow& row : planner::algorithm_table()) {
    for (int32_t n = 2; n <= 5; ++n) {
      const planner::PlanRequest request{row.collective, n,
                                         plan::has_root(row.collective) ? n - 1 : 0, 1 + n % 2};
      if (!row.supports(request)) continue;
      plans.push_back(row.build(request));
      if (row.collective == Collective::kBarrier || row.collective == Collective::kGather ||
          row.collective == Collective::kScatter)
        continue;
      plans.push_back(plan::from_msccl_xml(plan::to_msccl_xml(plans.back())));
    }
  }
  return plans;
}

Interleaving interleaving(const Plan& plan, uint64_t seed, const verify::Verdict* verdict) {
  Interleaving how{.seed = seed,
                   .tiles = 1 + static_cast<int32_t>(seed % 3),
                   .slots = plan.slots + static_cast<int32_t>(seed % 4 == 3 ? 2 : 0),
                   .some_chunks_empty = seed % 4 == 2};
  if (verdict == nullptr || seed % 2 == 1) return how;
  how.by_reference = [verdict](int32_t source, int32_t sink, int32_t channel, bool in_place) {
    for (const verify::ConnectionVerdict& c : verdict->connections) {
      if (c.source_rank == source && c.sink_rank == sink && c.channel == channel)
        return in_place ? c.reference_safe_in_place : c.reference_safe_out_of_place;
    }
    return false;
  };
  return how;
}

std::string first_fault(const Plan& plan, uint64_t interleavings, const verify::Verdict* verdict) {
  for (uint64_t seed = 0; seed < interleavings; ++seed) {
    std::string fault = Interleaver(plan, interleaving(plan, seed, verdict)).run();
    if (!fault.empty()) return fault + ", interleaving " + std::to_string(seed);
  }
  return "";
}

bool is_well_formed(const Plan& plan) {
  try {
    plan::check_well_formed(plan);
    return true;
  } catch (const std::exception&) {
    return false;
  }
}

// At its fewest slots a plan finishes, with one less it does not.
void expect_fewest_slots(Plan plan, const verify::Verdict& verdict) {
  ASSERT_LE(verdict.min_slots, plan.slots);
  plan.slots = verdict.min_slots;
  ASSERT_EQ(Interleaver(plan, {.seed = 1, .tiles = 2, .slots = plan.slots}).run(), "");
  if (plan.slots > 1) {
    ASSERT_EQ(Interleaver(plan, {.seed = 1, .tiles = 2, .slots = plan.slots - 1}).run(),
              "deadlock");
  }
}

TEST(VerifierGoodPlans, AreAcceptedAndGoRightInEveryInterleaving) {
  for (const Plan& plan : good_plans()) {
    const verify::Verdict verdict = verify::verify(plan);
    ASSERT_TRUE(verdict.accepted) << verdict.reason << "\n" << plan::to_text(plan);
    ASSERT_EQ(first_fault(plan, kInterleavingsOfAccepted, &verdict), "") << plan::to_text(plan);
    expect_fewest_slots(plan, verdict);
  }
}

std::vector<Plan> schedules_in(const std::filesystem::path& folder) {
  std::vector<Plan> plans;
  for (const auto& file : std::filesystem::directory_iterator(folder)) {
    std::ostringstream text;
    text << std::ifstream(file.path()).rdbuf();
    plans.push_back(plan::from_text(text.str(), file.path().string()));
  }
  return plans;
}

void expect_good(const Plan& plan, uint64_t interleavings) {
  const verify::Verdict verdict = verify::verify(plan);
  ASSERT_TRUE(verdict.accepted) << plan.algorithm << ": " << verdict.reason;
  ASSERT_EQ(first_fault(plan, interleavings, &verdict), "") << plan.algorithm;
  expect_fewest_slots(plan, verdict);
}

TEST(VerifierSchedules, OfThisProject_AreAcceptedAndGoRight) {
  const std::vector<Plan> plans =
      schedules_in(std::filesystem::path(TUTTI_SOURCE_DIR) / "tests/data/msccl");
  ASSERT_GE(plans.size(), 2u);
  for (const Plan& plan : plans) expect_good(plan, kInterleavingsOfAccepted);
}

// Published schedules of 8 and 16 ranks, which are not part of this project.
TEST(VerifierSchedules, Published_AreAcceptedAndGoRight) {
  const char* topologies = std::getenv("TUTTI_TEST_TOPOLOGIES");
  if (topologies == nullptr)
    GTEST_SKIP() << "TUTTI_TEST_TOPOLOGIES does not name a folder with msccl-xml/*.xml";
  for (const Plan& plan : schedules_in(std::filesystem::path(topologies) / "msccl-xml"))
    expect_good(plan, 3);
}

TEST(VerifierMutants, ThatGoWrongAreAllRejected) {
  const uint64_t mutants = number_from_environment("TUTTI_TEST_MUTANTS", 12000);
  const uint64_t seed = number_from_environment("TUTTI_TEST_SEED", 20260101);
  const std::vector<Plan> plans = good_plans();
  Mutator mutator(seed);
  std::map<std::string, uint64_t> tally;
  for (uint64_t i = 0; i < mutants; ++i) {
    const Plan mutant = mutator.mutate(plans[i % plans.size()]);
    const verify::Verdict verdict = verify::verify(mutant);
    if (verdict.accepted) {
      ++tally["accepted"];
      ASSERT_EQ(first_fault(mutant, kInterleavingsOfAccepted, &verdict), "")
          << "seed " << seed << ", mutant " << i << "\n"
          << plan::to_text(mutant);
      expect_fewest_slots(mutant, verdict);
      if (HasFatalFailure()) FAIL() << "seed " << seed << ", mutant " << i;
    } else if (!is_well_formed(mutant)) {
      ++tally["malformed"];
    } else {
      const std::string fault = first_fault(mutant, kInterleavingsOfRejected, nullptr);
      ++tally[fault.empty() ? "rejected, no fault found"
                            : "rejected: " + fault.substr(0, fault.find(','))];
      ++tally["well formed and rejected"];
    }
  }
  std::printf("seed %llu, %llu mutants\n", static_cast<unsigned long long>(seed),
              static_cast<unsigned long long>(mutants));
  for (const auto& [what, count] : tally)
    std::printf("  %-34s %llu\n", what.c_str(), static_cast<unsigned long long>(count));
  // Neither are all refused, nor for nothing, nor is the judge blind.
  EXPECT_GE(tally["accepted"], mutants / 50);
  EXPECT_GE(tally["well formed and rejected"], mutants / 4);
  EXPECT_LE(tally["rejected, no fault found"], tally["well formed and rejected"] / 4);
}

}  // namespace
}  // namespace tutti::testing
