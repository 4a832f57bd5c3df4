// SPDX-License-Identifier: Apache-2.0
// Plans by forests for a described topology, and what a plan takes there. In libtutti:
// communicators of GPUs plan by it.
#pragma once

#include <span>
#include <string>
#include <vector>

#include "src/base/rational.h"
#include "src/planner/forest/flow_network.h"
#include "src/planner/forest/forest_plan.h"

namespace tutti::planner {

// Times are as in TopologyBound (topology_plan.h).
struct Candidate {
  std::string algorithm;
  PlacedPlan placed;
  Rational time;  // of the plan's busiest link
};
Candidate candidate_of(std::string algorithm, PlacedPlan placed, const topology::Graph& graph,
                       const FlowNetwork& network);

// Between any two nodes there goes as much one way as the other.
bool is_symmetric(const FlowNetwork& network);

// Throws InvalidArgument: there is one terminal alone.
void check_terminals(const topology::Graph& graph, const FlowNetwork& network);
// Throws InvalidArgument when the collective is none of AllGather, ReduceScatter and AllReduce.
void check_collective(plan::Collective collective);

// A forest whose time is within `share` (up to 1) of TopologyBound::forest_time, with as few trees
// as that takes. `graph` is a View's, `network` made of it. Throws as the checks above do.
Candidate forest_candidate(const topology::Graph& graph, const FlowNetwork& network,
                           plan::Collective collective, double share, const PlanBudget& budget);
// One for each share, which descend, where that has fewer trees than the one before.
std::vector<Candidate> forest_candidates(const topology::Graph& graph, const FlowNetwork& network,
                                         plan::Collective collective,
                                         std::span<const double> shares, const PlanBudget& budget);

// Time that the busiest link of a placed plan takes, as above.
Rational busiest_link_time(const PlacedPlan& placed, const topology::Graph& graph,
                           const FlowNetwork& network);

}  // namespace tutti::planner
