// SPDX-License-Identifier: Apache-2.0
// A collective planned for a described topology: the bound, the plan, and how near it comes.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "src/base/rational.h"
#include "src/planner/forest/flow_network.h"
#include "src/planner/forest/forest_plan.h"

namespace tutti::planner {

struct TopologyRequest {
  plan::Collective collective = plan::Collective::kAllReduce;  // or AllGather, ReduceScatter
  int32_t max_channels = 32;
  double share_of_bound = 1;  // how near the bound the plan has to come
};

struct TopologyPlan {
  FlowNetwork network;
  // Times for one unit of data per terminal, capacities in network.unit_mbit_s. Nothing is faster
  // than `bound`, of which `parts` (nodes of the graph) are the proof, as in verify::Certificate.
  Rational bound;
  std::vector<std::vector<int32_t>> parts;
  // What forests can reach: `bound` for AllGather and ReduceScatter; for AllReduce the sum of both,
  // which may be more than `bound`.
  Rational forest_bound;
  Rational time;  // of the plan's busiest link
  int64_t trees_per_terminal = 1;
  PlacedPlan placed;
};

// `graph` is a View's. Throws InvalidArgument when the collective is another one, or the topology
// has no way between two terminals.
TopologyPlan plan_for(const topology::Graph& graph, const TopologyRequest& request);

}  // namespace tutti::planner
