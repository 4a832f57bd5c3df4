// SPDX-License-Identifier: Apache-2.0
// Machines and clusters from one line of text, for planning and tests without the hardware.
#pragma once

#include <string>
#include <string_view>

#include "topology/graph.h"

namespace tutti::topology {

// LINE := MODEL [xCOUNT] [KEY=VALUE ...], words separated by spaces, in any order after the model:
//   host cores=8 numa=2              a host without GPUs
//   dgx-a100 x2 fabric=rail          two boxes, NIC r of each on rail switch r (the default when
//                                    there are several)
//   dgx-h100 x4 fabric=fat-tree leaf=8 spines=2 oversubscription=2
//   mi250                            16 dies; parallel links are links of their own
//   gb200-nvl72                      a rack; its trays are machines within that machine
// synthetic_help() lists models and keys. GPU boxes hold what a collective among GPUs uses: GPUs,
// their links, switches and NICs, and no CPUs but the NUMA nodes that bytes pass on their way. One
// box gives a graph rooted at a machine, several a cluster; 16,384 GPUs take a fraction of a
// second. Throws InvalidArgument naming the word that is wrong and listing what is allowed in its
// place.
Graph synthetic(std::string_view line);

// One line per model and key, for help texts.
std::string synthetic_help();

}  // namespace tutti::topology
