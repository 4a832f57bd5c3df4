// SPDX-License-Identifier: Apache-2.0
// Bounds of collectives by what crosses the borders of sets of nodes; see certificate.h.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "src/base/rational.h"
#include "src/plan/collective.h"
#include "topology/graph.h"

namespace tutti::verify {

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
