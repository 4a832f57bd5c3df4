// SPDX-License-Identifier: Apache-2.0
// A collective planned for a described topology: the bound, the plan, and how near it comes.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "src/planner/forest/flow_network.h"
#include "src/planner/forest/forest_plan.h"
#include "src/planner/rational.h"

namespace tutti::planner {

struct TopologyRequest {
  plan::Collective collective = plan::Collective::kAllReduce;  // or AllGather, ReduceScatter
  int32_t max_channels = 32;
  double share_of_bound = 1;  // how near the bound the plan has to come
};

struct TopologyPlan {
  FlowNetwork network;
  // Of the direction that counts: AllGather's for AllGather and AllReduce, ReduceScatter's for
  // ReduceScatter. AllReduce takes twice as long where both phases share the links.
  Bound bound;
  Rational inverse_rate;  // what the plan reaches, as Bound::inverse_rate
  int64_t trees_per_terminal = 1;
  PlacedPlan placed;
};

// `graph` is a View's. Throws InvalidArgument when the collective is another one, or the topology
// has no way between two terminals.
TopologyPlan plan_for(const topology::Graph& graph, const TopologyRequest& request);

}  // namespace tutti::planner
