// SPDX-License-Identifier: Apache-2.0
// A network between terminals alone: switches are taken out, and what remains are wires from
// terminal to terminal with the ways that they take through the switches.
#pragma once

#include <cstdint>
#include <optional>
#include <vector>

#include "src/planner/forest/flow_network.h"

namespace tutti::planner {

// `amount` trees may use it. Parallel wires with different ways are different wires.
struct Wire {
  int32_t from = 0;
  int32_t to = 0;
  int64_t amount = 0;
  std::vector<verify::Hop> hops;
};

struct Wires {
  int32_t n_nodes = 0;
  int32_t n_terminals = 0;  // the first nodes
  std::vector<Wire> wires;
};

// The network in units of trees: an arc of capacity c has room for floor(c * trees_per_capacity).
Wires wires_of(const FlowNetwork& network, int64_t trees, int64_t capacity);

// Whether each terminal can send k to all at once: every terminal receives n k from a source that
// feeds each of them k. The condition for k spanning out-trees from every terminal (Edmonds 1973,
// and with switches Bang-Jensen, Frank and Jackson 1995).
bool supports_trees(const Wires& wires, int64_t k);

// Splits off all switches, one after the other, so that supports_trees() stays true: first by a
// guess that treats a switch's ports alike, checked by n maximum flows, and where that takes too
// much from somebody pair by pair, each as far as it does no harm. Nothing when that fails too,
// which only happens where a switch's capacities in and out differ.
std::optional<Wires> without_switches(const Wires& wires, int64_t k);

}  // namespace tutti::planner
