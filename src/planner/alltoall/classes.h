// SPDX-License-Identifier: Apache-2.0
// Classes of nodes and arcs of a network that look alike, so that a program need not tell them
// apart.
#pragma once

#include <cstdint>
#include <vector>

#include "src/planner/forest/flow_network.h"

namespace tutti::planner {

// An equitable partition: two nodes of a class have as many arcs of each class, in and out. Arcs of
// a class have one capacity and colour, and classes of nodes at their ends.
struct Classes {
  int32_t n_node_classes = 0;
  int32_t n_arc_classes = 0;
  std::vector<int32_t> node;  // class, by node
  std::vector<int32_t> arc;   // class, by arc
  // Equal for two choices of `apart` only where what is seen from them is alike.
  std::vector<uint64_t> trace;
};

// The coarsest one in which arcs of different `colours` (by arc) are apart, terminals are from
// switches, and so is the terminal `apart` from all others (-1: none). By colour refinement
// (Weisfeiler and Leman 1968).
Classes classes_of(const FlowNetwork& network, const std::vector<int32_t>& colours, int32_t apart);

}  // namespace tutti::planner
