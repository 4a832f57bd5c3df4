// SPDX-License-Identifier: Apache-2.0
// Plans whose sums and copies are made by switches on the way (NVLS, SHARP).
#pragma once

#include <vector>

#include "src/planner/forest/forest_plan.h"

namespace tutti::planner {

// AllReduce, ReduceScatter and AllGather with a chunk for every terminal, its owner. Contributions
// to a chunk come together at the owner, and the sum, or the owner's data, goes out from there.
//
//   switch          all terminals at once: one step in, one step out. An owner sends n chunks up,
//                   its own among them, and gets one sum back; it sends one chunk up, and n come
//                   back. AllReduce: n + 1 units over each terminal's link, each way, against 2 (n
//                   - 1) of any forest (Klenk et al., ISCA 2020).
//   switch_rails    first the terminals of a machine by its switch, then those in equal places of
//                   all machines one to one, then the machine again.
//   switch_fabric   likewise, but those in equal places by the fabric's switches; the terminals of
//                   a machine by its switch where that can, else one to one.
//
// Each where there are switches for it: nothing crosses a link twice that a switch could have
// merged, and no way passes through a terminal. Ways are shortest. More than 128 terminals have
// none. The plans are named.
std::vector<PlacedPlan> switch_plans(plan::Collective collective, const FlowNetwork& network,
                                     const topology::Graph& graph, const PlanBudget& budget);

}  // namespace tutti::planner
