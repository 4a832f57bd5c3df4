// SPDX-License-Identifier: Apache-2.0
// What a message of a switch channel crosses: the ways of its members as one tree of links.
#pragma once

#include <cstdint>
#include <vector>

#include "src/plan/plan.h"
#include "src/verify/placement.h"
#include "topology/graph.h"

namespace tutti::verify {

// Ways of a multicast that begin alike are one as far as a node that multicasts: the message
// crosses their links once, and is copied where they part. Ways that part at a node that can't do
// that cross the links before it once each. A reduction is the same backwards: ways that end alike
// are one from a node that reduces. The rank's loop is one of the ways.
struct SwitchTree {
  plan::SwitchChannel entry;
  std::vector<uint32_t> connections;  // as indices into Placement::routes; without the loop
  uint32_t loop = 0;                  // likewise: the way from the rank to the switch and back
  std::vector<Hop> hops;              // each as often as a message crosses it

  bool crosses_a_link_twice() const;
};

// Of a placement that has been checked; in the order of Plan::switch_channels.
std::vector<SwitchTree> switch_trees(const plan::Plan& plan, const Placement& placement,
                                     const topology::Graph& graph);

// Whether a switch of this node's kind can do what the channel asks for.
bool serves(const topology::Node& node, plan::SwitchChannel::Kind kind);

// Throws InvalidArgument when the ways of a switch channel pass a node that serves it and its loop
// does not: the rank's own contribution goes to the switch as all others do, its own copy comes
// back from it. Routes by themselves are checked.
void check_loops(const plan::Plan& plan, const Placement& placement, const topology::Graph& graph);

}  // namespace tutti::verify
