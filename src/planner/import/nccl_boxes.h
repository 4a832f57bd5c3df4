// SPDX-License-Identifier: Apache-2.0
// Which GPUs and NICs of a topology the devices of NCCL's graph XML are. Only src/planner/import
// uses it.
#pragma once

#include <cstdint>
#include <string_view>
#include <vector>

#include "src/planner/import/nccl_graph_xml.h"
#include "topology/graph.h"

namespace tutti::planner::nccl {

// What one copy of the file describes: NCCL makes it for the GPUs of one host, or of one NVLink
// domain.
struct Box {
  int32_t node = 0;           // that holds it all
  std::vector<int32_t> gpus;  // nodes; in the order of the graph
  std::vector<int32_t> nics;
  int32_t first_rank = 0;  // ranks are numbered through the boxes
};

// Machines, or machines of machines, of `gpus_per_box` GPUs each. Throws InvalidArgument naming the
// file and what the topology has instead.
std::vector<Box> boxes_of(const topology::Graph& graph, size_t gpus_per_box, std::string_view file,
                          size_t line);

// The channel as it is in a box: ranks in their order, and its NICs (nodes), as many as it names;
// none where there is but one box.
struct PlacedChannel {
  std::vector<int32_t> ranks;
  std::vector<int32_t> nics;
};
PlacedChannel place(const Channel& channel, const std::vector<Box>& boxes, size_t box,
                    const topology::Graph& graph, std::string_view file);

// Nodes between two of a box on a way that does not leave it: through as few other GPUs as there
// can be, of these ways one with the fewest hops. Empty when nothing is between, or there is no
// way.
std::vector<int32_t> way_inside(const Box& box, const topology::Graph& graph, int32_t from,
                                int32_t to);

}  // namespace tutti::planner::nccl
