// SPDX-License-Identifier: Apache-2.0
// What NCCL would run on a topology, from its own graph XML (NCCL_GRAPH_DUMP_FILE,
// NCCL_GRAPH_FILE): `graphs` > `graph` > `channel` > `net`, `gpu`.
//
// A file is made by one host, so each box of a cluster takes part as the file says. Graph 0 is
// NCCL's rings: the GPUs of a channel in the order of the file, then those of the next box, from
// the last NIC of one to the first of the next; with crossnic 2 every other box has its pairs of
// channels swapped. Graph 1 is its trees: a chain through the GPUs of a box, and over the boxes two
// binary trees for each channel, entering and leaving where the pattern says. The rest needs
// switches that reduce.
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "src/planner/forest/forest_plan.h"
#include "topology/report.h"

namespace tutti::planner {

struct NcclGraphPlans {
  std::vector<PlacedPlan> plans;      // algorithm "nccl_ring", "nccl_tree"; not empty
  std::vector<topology::Note> notes;  // what was left out, and why
};

// Rank r is the r-th GPU of `graph`. Devices of the file are numbers of the topology's GPUs and
// NICs within their machine, or positions where it does not number them; ranks in the file, and
// devices of several hosts, count in their order. A GPU reaches the NIC that it uses within its
// box, by way of another GPU where there is no other (NCCL's PXN).
//
// Throws InvalidArgument "FILE:LINE: ..." where the file is wrong or does not fit the topology, and
// when it has nothing for the collective: rings serve AllReduce, AllGather and ReduceScatter, trees
// AllReduce.
NcclGraphPlans plans_from_nccl_graph(std::string_view text, std::string_view file,
                                     const topology::Graph& graph, plan::Collective collective);

// Does the text begin as graph XML does?
bool is_nccl_graph(std::string_view text);

}  // namespace tutti::planner
