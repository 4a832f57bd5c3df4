// SPDX-License-Identifier: Apache-2.0
// What-if changes of a topology: fewer GPUs, broken and degraded links.
#pragma once

#include <cstdint>
#include <span>
#include <string>
#include <string_view>

#include "topology/graph.h"

namespace tutti::topology {

// The graph with those of its GPUs alone that have these positions among them, counted from 0 in
// node order; the order of `positions` has no meaning. NICs and switches that no remaining GPU
// reaches over links go too, and so does, with all its parts, a machine that loses all its GPUs.
// Ids stay as they are.
// Throws InvalidArgument when there is no position, when one is given twice, or when it is none.
Graph only_gpus(const Graph& graph, std::span<const int32_t> positions);

// CHANGES := CHANGE, separated by commas or semicolons, applied from left to right:
//   down ID            every link of the part has 0 Mbit/s, each way
//   down A B           every link between the two
//   slow ID=GB/s       each of the part's links carries at most that much, each way
//   slow A B=GB/s      each link between the two
//   one-way A B=GB/s   only from A to B
//   lanes ID=N/M       the part's PCIe links carry N/M of what they did; also lanes A B=N/M
// An ID is a node's, or what follows a slash in exactly one: "nic3" for "box0/nic3" when no other
// box has a nic3. A part without links of its own, such as a machine, stands for all parts within
// it. No change speeds a link up: slow and one-way refuse to. Nodes and links keep their indices.
// Throws InvalidArgument naming the change that is wrong and listing what is allowed.
Graph changed(const Graph& graph, std::string_view changes);

// One line per change, for help texts.
std::string change_help();

}  // namespace tutti::topology
