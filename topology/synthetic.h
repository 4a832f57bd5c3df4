// SPDX-License-Identifier: Apache-2.0
// Machines and clusters from one line of text, for planning and tests without the hardware.
#pragma once

#include <string>
#include <string_view>

#include "topology/graph.h"

namespace tutti::topology {

// LINE := MODEL [xCOUNT] [KEY=VALUE ...], words separated by spaces, in any order after the model:
//   host cores=8 numa=2            a host without GPUs; also memory=64G nics=1 nic=12.5 (GB/s per
//   NIC) dgx-a100 x2 fabric=rail        two boxes, NIC r of each on rail switch r (the default when
//   there are several) dgx-h100 x4 fabric=flat        all NICs on one switch dgx-1v hybrid cube
//   mesh of 8 GPUs
// GPU boxes hold what a collective among GPUs uses: GPUs, their links, switches and NICs, and no
// CPUs. One box gives a graph rooted at a machine, several a cluster. Throws InvalidArgument naming
// the word that is wrong and listing what is allowed in its place.
Graph synthetic(std::string_view line);

// One line per model and key, for help texts.
std::string synthetic_help();

}  // namespace tutti::topology
