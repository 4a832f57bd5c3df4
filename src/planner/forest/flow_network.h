// SPDX-License-Identifier: Apache-2.0
// A topology as its planner sees it: terminals that hold data, switches that pass it on, and how
// much goes each way per unit of time.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "src/verify/placement.h"
#include "topology/graph.h"

namespace tutti::planner {

struct ViewOptions {
  bool gpu_links_only = false;  // only links between GPUs and their own switches
  bool unit_capacity = false;   // each physical link counts 1 GB/s, whatever its bandwidth
};

// The topology that plans are made on and measured against: parallel links are one, and links that
// take no part (down, unknown, not wanted) are left out, which `notes` says. Nodes are those of
// `topology`, at their indices.
struct View {
  topology::Graph graph;
  std::vector<std::string> notes;
};
// Throws InvalidArgument when a link has more than verify::kMostMbitPerSecond.
View view_of(const topology::Graph& topology, const ViewOptions& options);

// Directed and capacitated. Nodes are numbered anew: the terminals first, in the graph's order;
// switches that no way between two terminals passes are left out.
struct FlowNetwork {
  struct Arc {
    int32_t from = 0;
    int32_t to = 0;
    int64_t capacity = 0;  // in `unit_mbit_s`
    verify::Hop hop;       // over the graph's link
  };
  int32_t n_terminals = 0;
  std::vector<int32_t> graph_node;  // by node
  std::vector<Arc> arcs;
  int64_t unit_mbit_s = 1;  // greatest common divisor of the capacities

  int32_t n_nodes() const noexcept { return static_cast<int32_t>(graph_node.size()); }
};
// Terminals are the GPUs; where there are none, the machines' NUMA nodes. Throws InvalidArgument
// when there is no terminal.
FlowNetwork flow_network(const topology::Graph& graph);
// Every arc turned round; ReduceScatter on a network is AllGather on the reverse one.
FlowNetwork reversed(const FlowNetwork& network);

}  // namespace tutti::planner
