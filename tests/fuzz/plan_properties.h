// SPDX-License-Identifier: Apache-2.0
// What holds for every plan that a text form yields: it is written and read back, the verifier
// judges it, and what it accepts does the collective.
#pragma once

#include <string>
#include <vector>

#include "src/plan/msccl_xml.h"
#include "src/plan/plan.h"
#include "src/planner/planner.h"
#include "src/verify/verifier.h"
#include "tests/fuzz/fuzz.h"
#include "tests/support/plan_interpreter.h"

namespace tutti::fuzz {

inline void check_runs(const plan::Plan& plan) {
  constexpr int64_t kMostSteps = 2000;  // keeps an input short; the verifier has judged all of it
  if (plan.shape.n_ranks > 64 || plan::size_of(plan).steps > kMostSteps) return;
  if (plan::extent_count(plan.shape) > kMostSteps) return;
  for (const plan::RankProgram& program : plan.ranks)
    if (program.scratch_chunks > kMostSteps) return;
  const std::string fault =
      test::interpret(plan, {.slots = std::min(plan.slots, 64), .tiles = 2, .in_place = false});
  require(fault.empty(), "an accepted plan does its collective: " + fault);
}

// MSCCL can't express some plans; what it can is as good as before.
inline void check_export(const plan::Plan& plan) {
  const auto xml = accepted([&] { return plan::to_msccl_xml(plan); });
  if (!xml) return;
  const auto back = accepted([&] { return plan::from_msccl_xml(*xml, "exported"); });
  if (!back) return;
  const verify::Verdict verdict = verify::verify(*back);
  require(verdict.accepted || verdict.reason.find("deadlock") != std::string::npos,
          "an exported plan is accepted again: " + verdict.reason);
}

inline void check_plan(const plan::Plan& plan) {
  // A count makes many steps of one; as many as a long file has take long.
  constexpr int64_t kMostSteps = 20'000;
  if (plan::size_of(plan).steps > kMostSteps) return;
  const plan::Plan again = plan::from_json(plan::to_json(plan));
  require(again == plan, "a plan comes back");
  require(plan::hash(again) == plan::hash(plan), "its hash comes back");
  require(plan::size_of(plan).longest_lane <= plan::size_of(plan).steps, "sizes add up");
  const verify::Verdict verdict = verify::verify(plan);
  if (!verdict.accepted) return require(!verdict.reason.empty(), "a verdict has a reason");
  require(verdict.min_slots >= 0 && verdict.min_slots <= plan.slots, "slots suffice");
  require(!plan::to_text(plan).empty() || plan::size_of(plan).steps == 0, "a plan reads");
  check_runs(plan);
  check_export(plan);
}

// Every algorithm, over few ranks, so that seeds are short.
inline std::vector<plan::Plan> small_plans() {
  std::vector<plan::Plan> plans;
  for (const planner::AlgorithmRow& row : planner::algorithm_table()) {
    for (const int32_t n_ranks : {1, 2, 3, 4}) {
      const planner::PlanRequest request{.collective = row.collective, .n_ranks = n_ranks};
      if (row.supports(request)) plans.push_back(row.build(request));
    }
  }
  return plans;
}

}  // namespace tutti::fuzz
