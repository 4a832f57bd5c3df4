// SPDX-License-Identifier: Apache-2.0
// Plans for topologies on disk, by the hash of the topology.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "src/planner/forest/topology_plan.h"

namespace tutti::command {

// To be counted up with every change of what planners make.
inline constexpr int kPlannerVersion = 2;

struct PlanKey {
  uint64_t topology = 0;  // hash of the view
  plan::Collective collective = plan::Collective::kAllReduce;
  planner::PlanBudget budget;
};

// $XDG_CACHE_HOME/tutti/plans-VERSION-HASH-COLLECTIVE-CHANNELS-LANES.json; empty when there is no
// such folder to be named.
std::string plan_file_path(const PlanKey& key);

// The candidates that were kept for the key. Nothing when there are none, or what is there can't be
// read, is not of this graph, or is refused by the verifier: then they are planned anew.
std::optional<std::vector<planner::Candidate>> find_plans(const PlanKey& key,
                                                          const topology::Graph& graph,
                                                          const planner::FlowNetwork& network);

// A folder that can't be written to is no error: the next command plans again.
void keep_plans(const PlanKey& key, const std::vector<planner::Candidate>& candidates,
                const topology::Graph& graph);

}  // namespace tutti::command
