// SPDX-License-Identifier: Apache-2.0
// Routes for plans that were made without a topology in mind.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "src/plan/plan.h"
#include "src/verify/placement.h"
#include "topology/graph.h"

namespace tutti::verify {

// Nodes that the way of a connection passes, in this order; the ways between them are shortest.
struct Detour {
  int32_t source_rank = 0;
  int32_t sink_rank = 0;
  int32_t channel = 0;
  std::vector<int32_t> through;
};

// A route for every connection of the plan, with rank r at node node_of_rank[r]. Of all ways that
// are not down, one that passes through the fewest GPUs besides its ends (none where that can be),
// of these one with the fewest hops, of these one whose narrowest hop is widest; a hop of unknown
// capacity is narrower than all others. Where several are equal, the sink's rank and the channel
// say which, as in D-mod-K (Zahavi, Fat-tree routing and node ordering providing contention free
// traffic for MPI global collectives, JPDC 72(11), 2012): consecutive sinks of one source, and the
// channels of one pair, go different ways. In a multicast by switches the source's rank says which,
// so that its ways part late. The loop of a switch channel leads to the nearest switch that serves
// it on a way of one of its connections, and back; it is empty where there is none. Detours are for
// connections of the plan; others are left out.
//
// Throws InvalidArgument when a rank has no node of the graph, or naming both ranks when there is
// no way from one to the other. A pure function of its arguments.
Placement place_by_shortest_paths(const plan::Plan& plan, const topology::Graph& graph,
                                  std::vector<int32_t> node_of_rank,
                                  std::span<const Detour> detours = {});

}  // namespace tutti::verify
