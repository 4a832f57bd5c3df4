// SPDX-License-Identifier: Apache-2.0
// Bounds of collectives by what crosses the borders of sets of nodes; see certificate.h.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "src/base/error.h"
#include "src/base/rational.h"
#include "src/plan/collective.h"
#include "topology/graph.h"

namespace tutti::verify {

// What a check of a certificate ends with.
struct BoundVerdict {
  bool accepted = false;
  std::string reason;          // why not; empty when accepted
  Rational bound;              // time that no plan can beat
  Rational plan;               // time that the plan's busiest link takes
  double plan_over_bound = 0;  // up to 1; the plan's rate by the bound's
};
// Fills plan_over_bound in from the two times, or says that they contradict each other.
std::optional<std::string> compare_times(BoundVerdict* verdict);

// The verdict of `judge`, which fills one in or says what is wrong, also by throwing Error.
template <typename Verdict, typename Judge>
Verdict verdict_of(Judge judge) {
  Verdict verdict;
  try {
    if (std::optional<std::string> why = judge(&verdict))
      verdict.reason = std::move(*why);
    else
      verdict.accepted = true;
  } catch (const Error& error) {
    verdict.reason = error.what();
  }
  return verdict;
}

struct BoundClaim {
  plan::Collective collective = plan::Collective::kAllGather;
  const topology::Graph* graph = nullptr;
  const std::vector<int32_t>* node_of_rank = nullptr;
  const std::vector<std::vector<int32_t>>* parts = nullptr;
};

// Works the bound out, or says what is wrong with the parts.
std::optional<std::string> find_bound(const BoundClaim& claim, Rational* bound);

// Two ranks on one node are no placement that a bound holds for.
std::optional<std::string> check_ranks_apart(const std::vector<int32_t>& node_of_rank,
                                             const topology::Graph& graph);

}  // namespace tutti::verify
