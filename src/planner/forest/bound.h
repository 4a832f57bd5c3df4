// SPDX-License-Identifier: Apache-2.0
// How fast a collective can be at most on a network, exactly, and the cut that proves it.
#pragma once

#include <cstdint>
#include <vector>

#include "src/base/rational.h"
#include "src/planner/forest/flow_network.h"

namespace tutti::planner {

// No AllGather in which every terminal has one unit of data is faster than `inverse_rate` units of
// time (capacities in FlowNetwork::unit_mbit_s): the terminals in `inside` have |S| units to send
// to those outside, and B+(S) leaves S per unit of time. 1/x* of ForestColl (arXiv 2402.06787);
// T = units / x*.
struct Bound {
  Rational inverse_rate;     // |S| / B+(S), the largest over all S that miss a terminal
  std::vector<bool> inside;  // S, by node of the network
};

// By Newton's method on violated cuts: a rate x holds if and only if a source that feeds each
// terminal x can send n x to every terminal. Each minimum cut that says no is itself a slower rate;
// rates only fall, so a terminal that has agreed agrees for ever. n + (a few) maximum flows; on
// more than 2,048 terminals only one of each kind that colour refinement tells apart is asked, so
// that the bound holds but might, on a network whose kinds are not symmetric, not be the strictest.
// Throws InvalidArgument naming a terminal that others can't reach.
Bound all_gather_bound(const FlowNetwork& network, const topology::Graph& graph);

// One terminal of each kind: two are of one kind when refining colours by the arcs of their nodes
// (Weisfeiler and Leman 1968) does not tell them apart.
std::vector<int32_t> terminal_kinds(const FlowNetwork& network);

// Terminals in `inside`, and what leaves it, in the network's units.
Rational cut_ratio(const FlowNetwork& network, const std::vector<bool>& inside);

}  // namespace tutti::planner
