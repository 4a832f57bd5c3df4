// SPDX-License-Identifier: Apache-2.0
// Where the ranks of a plan are in a topology, and over which links its connections go.
#pragma once

#include <cstdint>
#include <vector>

#include "src/plan/plan.h"
#include "topology/graph.h"

namespace tutti::verify {

// Larger capacities than this (125 TB/s) are refused, so that sums and products stay within 64 and
// 128 bits.
inline constexpr int64_t kMostMbitPerSecond = 1'000'000'000;

// One way over a link of the topology: from → to, or back.
struct Hop {
  int32_t link = 0;
  bool reverse = false;
  bool operator==(const Hop&) const = default;
};

// From the node of the source rank to the node of the sink rank; no hops when they are one node.
struct Route {
  int32_t source_rank = 0;
  int32_t sink_rank = 0;
  int32_t channel = 0;
  std::vector<Hop> hops;
  bool operator==(const Route&) const = default;
};

// Beside connections, switch channels have a route each, of their rank to itself and their channel:
// to the switch and back, as the rank's own contribution or copy goes.
struct Placement {
  std::vector<int32_t> node_of_rank;  // index into Graph::nodes
  std::vector<Route> routes;          // one per connection of the plan, by (source, sink, channel)
  bool operator==(const Placement&) const = default;
};

// Throws InvalidArgument naming rank, connection or hop: every rank has a node of the graph, every
// connection of the plan exactly one route, and a route's hops join into a way from its source's
// node to its sink's; switch channels as above (switch_tree.h).
void check_placement(const plan::Plan& plan, const Placement& placement,
                     const topology::Graph& graph);

// Chunks that cross each link per run of the plan, each way.
struct LinkLoad {
  int64_t forward_chunks = 0;
  int64_t reverse_chunks = 0;
  bool operator==(const LinkLoad&) const = default;
};
// By link of the graph. A signal carries no chunk; one of a switch channel is carried over the
// links of its tree.
std::vector<LinkLoad> link_loads(const plan::Plan& plan, const Placement& placement,
                                 const topology::Graph& graph);

}  // namespace tutti::verify
