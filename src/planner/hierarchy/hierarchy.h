// SPDX-License-Identifier: Apache-2.0
// Plans of clusters of equal machines, level by level.
#pragma once

#include <optional>

#include "src/planner/forest/flow_network.h"
#include "src/planner/forest/forest.h"
#include "src/verify/hierarchy.h"

namespace tutti::planner {

// Levels, first to last: machines that share no first network switch, by the GPUs that are in equal
// places (binomial trees turned round from each root, so that every member sends alike); then the
// machines behind one switch, likewise; then the GPUs of a machine, by the forest of one machine.
// Where GPUs in equal places meet on a rail, nothing leaves its rail between machines, and every
// NIC carries what a cut around its machine asks of it.
//
// Nothing when the topology is one machine, when its machines differ, or when GPUs in equal places
// have no way to each other that passes switches only.
std::optional<verify::Hierarchy> hierarchy_for(const topology::Graph& graph,
                                               const FlowNetwork& network);

// Its AllGather as a forest, for plans with steps (n * n of them at least).
Forest forest_of(const verify::Hierarchy& hierarchy, const FlowNetwork& network);

}  // namespace tutti::planner
