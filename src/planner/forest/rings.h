// SPDX-License-Identifier: Apache-2.0
// Rings and double binary trees on described topologies, as forests.
#pragma once

#include <optional>

#include "src/planner/forest/forest.h"

namespace tutti::planner {

// Rings through all terminals that together carry as much as is found: one after the other, each as
// wide as the network still allows, by depth-first search of bounded effort (exhaustive on small
// machines, in the order of terminals on large ones). A ring is a path from every terminal, so
// rings are a forest whose trees are paths. Nothing when there is no ring at all.
std::optional<Forest> ring_forest(const FlowNetwork& network, int32_t most_rings);

// For AllReduce: double binary trees (Sanders, Speck and Traeff 2009) over the GPUs of one machine;
// of several machines one over the first GPUs of all, one over the second, and so on, and from each
// of these to the others of its machine. Trees that would need a way that there is not are left
// out; nothing when none is left.
std::optional<Forest> double_tree_forest(const FlowNetwork& network, const topology::Graph& graph);

// Time that the busiest arc takes for one unit of data per terminal, when a tree carries
// `units_per_tree`.
Rational busiest_time(const FlowNetwork& network, const Forest& forest,
                      const Rational& units_per_tree);

}  // namespace tutti::planner
