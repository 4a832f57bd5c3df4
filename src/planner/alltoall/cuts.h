// SPDX-License-Identifier: Apache-2.0
// Cuts that hold back an AllToAll.
#pragma once

#include <vector>

#include "src/planner/forest/flow_network.h"

namespace tutti::planner {

// A set of nodes for which separation_ratio() is large: the best of `hints`, single terminals, all
// but one, machines, the first so many machines, and of small networks random halves, each improved
// by moving one node at a time to the other side while that helps. No promise that it is the
// largest.
std::vector<bool> best_separation(const FlowNetwork& network, const topology::Graph& graph,
                                  const std::vector<std::vector<bool>>& hints);

}  // namespace tutti::planner
