// SPDX-License-Identifier: Apache-2.0
// AllToAll on described topologies as plans that ranks run.
#pragma once

#include <string>
#include <vector>

#include "src/base/rational.h"
#include "src/planner/alltoall/block_ways.h"
#include "src/planner/forest/forest_plan.h"

namespace tutti::planner {

// A relay hands messages on from connection to connection, without scratch: what it sends to one
// sink, its own block and those that it was given, goes over one connection. Lanes are for ways
// whose last legs go equally far, apart for last legs, legs before the last, and so on, and for
// what arrives; as many as the budget allows. All lanes take blocks in one order, so one slot is
// enough.
PlacedPlan all_to_all_plan(const std::string& algorithm, const BlockWays& ways,
                           const FlowNetwork& network, const PlanBudget& budget);

struct NamedPlan {
  std::string algorithm;
  PlacedPlan placed;
};

// "direct" where every block has a way by no other terminal, "relayed" by the shortest ways where
// those come by others, and, while the best of these is slower than the bound, "spread_C" in C
// chunks over several ways. Throws InvalidArgument when there are too many terminals for a plan of
// all pairs.
std::vector<NamedPlan> all_to_all_plans(const FlowNetwork& network, const topology::Graph& graph,
                                        const SpreadGoal& bound, const PlanBudget& budget);

}  // namespace tutti::planner
