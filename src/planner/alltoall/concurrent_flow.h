// SPDX-License-Identifier: Apache-2.0
// The maximum concurrent flow among all pairs of terminals, as a linear program.
#pragma once

#include <cstdint>
#include <optional>
#include <vector>

#include "src/planner/forest/flow_network.h"

namespace tutti::planner {

// In floating point; whoever wants a proof rounds the lengths and measures distances with them.
struct ConcurrentFlow {
  double rate = 0;              // that every ordered pair gets at a time, in the network's units
  std::vector<double> lengths;  // by arc: the dual of its capacity. Only arcs that hold the rate
                                // back have one
  bool exact = false;           // no symmetry was assumed without having looked, see below
};

// Maximises the rate r such that flows of r between all ordered pairs of terminals, through
// switches and through other terminals, fit into the capacities together (Shahrokhi and Matula, The
// maximum concurrent flow problem, JACM 37(2), 1990).
//
// Flows with one source are one commodity: it leaves r at each other terminal. Terminals that look
// alike are one source, with flows as often as there are such terminals, and what looks alike from
// a source carries alike: variables are classes of arcs as seen from each class of terminals, rows
// are classes of nodes and of arcs. Classes of arcs are told apart until arcs of one are seen alike
// by as many terminals of each class; that is an equitable partition of the whole program, so its
// optimum is the same (Grohe, Kersting, Mladenov and Selman, Dimension reduction via colour
// refinement, ESA 2014). Above 128 terminals only colours of nodes are looked at, and `exact` is
// false. dgx-h100 x128 has one source and a few variables; without symmetries there are arcs times
// terminals.
//
// Nothing when there are more than `most_variables`, or when the solver gives up.
std::optional<ConcurrentFlow> concurrent_flow(const FlowNetwork& network, int64_t most_variables);

}  // namespace tutti::planner
