// SPDX-License-Identifier: Apache-2.0
// Forests as plans that ranks run, and the ways that their connections take.
#pragma once

#include "src/plan/plan.h"
#include "src/planner/forest/forest.h"
#include "src/verify/placement.h"

namespace tutti::planner {

struct PlacedPlan {
  plan::Plan plan;
  verify::Placement placement;
};

// `gather` has trees that lead data out from their roots, `scatter` trees of the reversed network
// along which data comes in; AllGather uses the first, ReduceScatter the second, AllReduce both,
// with as many trees in each. Rank r is terminal r.
struct Forests {
  const Forest* gather = nullptr;
  const Forest* scatter = nullptr;
};

struct PlanBudget {
  int32_t channels = 32;  // of two ranks
  int32_t lanes = 64;     // of a rank
};

// Trees share lanes, within the budget: a rank's lane does the steps of several trees, level by
// level. The budget of channels is overdrawn only where more different ways are needed between two
// ranks. There is a chunk for each tree, and equal shares of copies are one tree: AllGather and
// ReduceScatter have as many per block as each root has trees, AllReduce has all in its one block,
// so that its trees may have any roots. The plan is named `algorithm`.
PlacedPlan forest_plan(const char* algorithm, plan::Collective collective, const Forests& forests,
                       const FlowNetwork& network, const PlanBudget& budget);

// Whether a way of the placement goes on from a rank's node that is not its end.
bool passes_through_a_terminal(const verify::Placement& placement, const topology::Graph& graph);

}  // namespace tutti::planner
