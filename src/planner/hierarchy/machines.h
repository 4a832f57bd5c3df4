// SPDX-License-Identifier: Apache-2.0
// A cluster's machines, and how they hang together.
#pragma once

#include <cstdint>
#include <optional>
#include <vector>

#include "src/planner/forest/flow_network.h"

namespace tutti::planner {

// Terminals by machine, machines by the network switches that they are on: [leaf][machine][place].
// All have equal sizes.
struct Cluster {
  std::vector<std::vector<std::vector<int32_t>>> leaves;

  int32_t n_leaves() const { return static_cast<int32_t>(leaves.size()); }
  int32_t n_machines() const { return static_cast<int32_t>(leaves.front().size()); }  // of a leaf
  int32_t n_places() const { return static_cast<int32_t>(leaves.front().front().size()); }
};
// Nothing when there is one machine, or when machines have different numbers of terminals. Leaves
// of different sizes are one leaf.
std::optional<Cluster> cluster_of(const topology::Graph& graph, const FlowNetwork& network);

// The parts of the network within the machines, in the cluster's order: terminals first, then
// switches. Hops are the network's.
std::vector<FlowNetwork> machine_networks(const topology::Graph& graph, const FlowNetwork& network,
                                          const Cluster& cluster);
// Do the two have the same arcs, in the same order?
bool are_alike(const FlowNetwork& a, const FlowNetwork& b);

// The machine that holds a node: the outermost; the root of the graph where there is none.
int32_t machine_of(const topology::Graph& graph, int32_t node);

}  // namespace tutti::planner
