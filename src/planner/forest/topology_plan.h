// SPDX-License-Identifier: Apache-2.0
// A collective planned for a described topology: what no plan can beat, and plans for it.
#pragma once

#include <array>
#include <cstdint>
#include <optional>
#include <vector>

#include "src/base/rational.h"
#include "src/planner/forest/candidate.h"
#include "src/planner/forest/flow_network.h"

namespace tutti::planner {

// Times are for one unit of data per terminal, an n-th of what all have together, capacities in
// FlowNetwork::unit_mbit_s. For AllToAll a unit is what a terminal sends to all, itself too: n
// blocks.
struct TopologyBound {
  // Nothing is faster; `parts` (nodes of the graph) are the proof, as in verify::Certificate, but
  // for AllToAll `lengths` (by link of the graph) are.
  Rational time;
  std::vector<std::vector<int32_t>> parts;
  std::vector<std::array<int64_t, 2>> lengths;
  // What forests can reach: the same for AllGather and ReduceScatter; for AllReduce both of those,
  // one after the other, which may be more. A plan may still be faster than that: its phases run at
  // a time, and may load the two directions of a link differently.
  Rational forest_time;
  // AllToAll only: what the best cut that was found says alone, which is less where many blocks
  // need more than one narrow link; `parts` is that cut. And whether no lengths prove more.
  Rational cut_time;
  bool optimal = false;
};

// Throws InvalidArgument when the collective is none of AllGather, ReduceScatter, AllReduce and
// AllToAll, when there is one terminal alone, or no way between two. `graph` is a View's, `network`
// made of it.
TopologyBound topology_bound(const topology::Graph& graph, const FlowNetwork& network,
                             plan::Collective collective);

// Everything that has a plan here: two forests (as fast as can be, and with fewer trees), rings,
// double binary trees, plans by switches that reduce and multicast (switch_plan.h), for AllToAll
// the plans of alltoall_plan.h instead, and the rows of the
// algorithm table over the shortest ways. Those that would
// send through another GPU's memory without its doing are left out.
//
// For AllToAll `bound`, where it is given, is what topology_bound() has returned; there may be no
// more than 512 terminals.
std::vector<Candidate> all_candidates(const topology::Graph& graph, const FlowNetwork& network,
                                      plan::Collective collective, const PlanBudget& budget,
                                      const TopologyBound* bound = nullptr);

}  // namespace tutti::planner
