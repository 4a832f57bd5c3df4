// SPDX-License-Identifier: Apache-2.0
// Finds the boxes of a topology and the devices in them.
#include "src/planner/import/nccl_boxes.h"

#include <algorithm>
#include <set>
#include <utility>

#include <spdlog/fmt/fmt.h>

namespace tutti::planner::nccl {
namespace {

using topology::Graph;
using topology::NodeKind;

// The innermost machine around a node, or the outermost.
int32_t machine_of(const Graph& graph, int32_t node, bool outermost) {
  int32_t found = node;
  for (int32_t at = node; at >= 0; at = graph.nodes[at].parent) {
    if (graph.nodes[at].kind != NodeKind::kMachine) continue;
    found = at;
    if (!outermost) break;
  }
  return found;
}

std::vector<Box> boxes_by_machine(const Graph& graph, bool outermost) {
  std::vector<Box> boxes;
  const auto box_of = [&](int32_t node) {
    const int32_t machine = machine_of(graph, node, outermost);
    return std::pair{machine, std::ranges::find(boxes, machine, &Box::node)};
  };
  int32_t ranks = 0;
  for (const int32_t gpu : topology::nodes_of_kind(graph, NodeKind::kGpu)) {
    auto [machine, box] = box_of(gpu);
    if (box == boxes.end())
      box = boxes.insert(box, Box{.node = machine, .gpus = {}, .nics = {}, .first_rank = ranks});
    box->gpus.push_back(gpu);
    ++ranks;
  }
  for (const int32_t nic : topology::nodes_of_kind(graph, NodeKind::kNic)) {
    const auto box = box_of(nic).second;
    if (box != boxes.end()) box->nics.push_back(nic);
  }
  return boxes;
}

// Ranks are numbered in the order of the graph's GPUs, so each box has to have a run of them.
bool in_order(const std::vector<Box>& boxes) {
  std::vector<int32_t> gpus;
  for (const Box& box : boxes) gpus.insert(gpus.end(), box.gpus.begin(), box.gpus.end());
  return std::ranges::is_sorted(gpus);
}

// Those that have this number; numbers are by position where no device has one.
std::vector<int32_t> with_number(const Graph& graph, const std::vector<int32_t>& nodes,
                                 uint64_t number) {
  const bool numbered = std::ranges::any_of(nodes, [&](int32_t node) {
    return graph.nodes[node].attributes.os_index != topology::kUnknown;
  });
  std::vector<int32_t> found;
  for (size_t i = 0; i < nodes.size(); ++i) {
    const int64_t own =
        numbered ? graph.nodes[nodes[i]].attributes.os_index : static_cast<int64_t>(i);
    if (own >= 0 && static_cast<uint64_t>(own) == number) found.push_back(nodes[i]);
  }
  return found;
}

int32_t only_one(const std::vector<int32_t>& found, const Device& device, const Box& box,
                 const Graph& graph, const char* element, std::string_view file) {
  if (found.size() != 1)
    fail(file, device.line,
         fmt::format("<{}> dev: expected one device of {} with the number {:x}, the topology has "
                     "{}",
                     element, graph.nodes[box.node].id, device.dev, found.size()));
  return found.front();
}

bool have_ranks(const Channel& channel) {
  return std::ranges::all_of(channel.gpus, [](const Device& d) { return d.rank != kNoRank; });
}
bool span_systems(const Channel& channel) {
  return std::ranges::any_of(channel.gpus, [](const Device& d) { return d.system != 0; });
}

// What tells the GPUs of a channel apart, and puts them in order.
std::pair<uint64_t, uint64_t> key_of(const Device& gpu, bool by_rank) {
  return by_rank ? std::pair{uint64_t{0}, static_cast<uint64_t>(gpu.rank)}
                 : std::pair{gpu.system, gpu.dev};
}

// Position of each GPU of the channel in the box. Ranks and numbers of several hosts are in the
// order of the box.
std::vector<int32_t> positions(const Channel& channel, const Box& box, const Graph& graph,
                               std::string_view file) {
  const bool by_rank = have_ranks(channel);
  std::vector<std::pair<uint64_t, uint64_t>> keys;
  for (const Device& gpu : channel.gpus) keys.push_back(key_of(gpu, by_rank));
  std::ranges::sort(keys);
  std::vector<int32_t> found;
  for (const Device& gpu : channel.gpus) {
    if (by_rank || span_systems(channel)) {
      const auto at = std::ranges::lower_bound(keys, key_of(gpu, by_rank));
      found.push_back(static_cast<int32_t>(at - keys.begin()));
      continue;
    }
    const int32_t node =
        only_one(with_number(graph, box.gpus, gpu.dev), gpu, box, graph, "gpu", file);
    found.push_back(static_cast<int32_t>(std::ranges::find(box.gpus, node) - box.gpus.begin()));
  }
  return found;
}

std::vector<bool> nodes_inside(const Box& box, const Graph& graph) {
  std::vector<bool> inside(graph.nodes.size(), false);
  for (size_t node = 0; node < graph.nodes.size(); ++node) {
    const int32_t parent = graph.nodes[node].parent;
    inside[node] = static_cast<int32_t>(node) == box.node ||
                   (parent >= 0 && inside[static_cast<size_t>(parent)]);
  }
  return inside;
}

// Links that are up from a node to others of the box.
std::vector<std::vector<int32_t>> neighbours_inside(const Box& box, const Graph& graph) {
  const std::vector<bool> inside = nodes_inside(box, graph);
  std::vector<std::vector<int32_t>> next(graph.nodes.size());
  for (const topology::Link& link : graph.links) {
    if (!inside[static_cast<size_t>(link.from)] || !inside[static_cast<size_t>(link.to)]) continue;
    if (link.forward_mbit_s != 0) next[static_cast<size_t>(link.from)].push_back(link.to);
    if (link.reverse_mbit_s != 0) next[static_cast<size_t>(link.to)].push_back(link.from);
  }
  return next;
}

// Dijkstra's algorithm; a way is as long as it passes GPUs, then hops.
struct Ways {
  std::vector<int32_t> before;  // by node: the one before it, -1 for none
};
Ways ways_out_of(const Box& box, const Graph& graph, int32_t from) {
  using Length = std::pair<int32_t, int32_t>;  // GPUs, hops
  const auto next = neighbours_inside(box, graph);
  std::vector<Length> length(graph.nodes.size(), {INT32_MAX, INT32_MAX});
  Ways ways{std::vector<int32_t>(graph.nodes.size(), -1)};
  std::set<std::pair<Length, int32_t>> open{{{0, 0}, from}};
  length[static_cast<size_t>(from)] = {0, 0};
  while (!open.empty()) {
    const auto [at, node] = *open.begin();
    open.erase(open.begin());
    const bool is_gpu = node != from && graph.nodes[node].kind == NodeKind::kGpu;
    const Length behind{at.first + (is_gpu ? 1 : 0), at.second + 1};
    for (const int32_t other : next[static_cast<size_t>(node)]) {
      Length& known = length[static_cast<size_t>(other)];
      if (behind >= known) continue;
      open.erase({known, other});
      known = behind;
      ways.before[static_cast<size_t>(other)] = node;
      open.emplace(behind, other);
    }
  }
  return ways;
}

}  // namespace

std::vector<Box> boxes_of(const Graph& graph, size_t gpus_per_box, std::string_view file,
                          size_t line) {
  for (const bool outermost : {false, true}) {
    std::vector<Box> boxes = boxes_by_machine(graph, outermost);
    const bool fits = !boxes.empty() && std::ranges::all_of(boxes, [&](const Box& box) {
      return box.gpus.size() == gpus_per_box;
    });
    if (fits && in_order(boxes)) return boxes;
  }
  std::vector<size_t> sizes;
  for (const Box& box : boxes_by_machine(graph, false)) sizes.push_back(box.gpus.size());
  fail(file, line,
       fmt::format("<channel>: expected as many GPUs as each machine of the topology has, {}, got "
                   "{}",
                   sizes.empty() ? "none" : fmt::format("{}", fmt::join(sizes, ", ")),
                   gpus_per_box));
}

PlacedChannel place(const Channel& channel, const std::vector<Box>& boxes, size_t index,
                    const Graph& graph, std::string_view file) {
  const Box& box = boxes[index];
  PlacedChannel placed;
  std::vector<bool> seen(box.gpus.size(), false);
  const std::vector<int32_t> seats = positions(channel, box, graph, file);
  for (size_t i = 0; i < seats.size(); ++i) {
    if (seen[static_cast<size_t>(seats[i])])
      fail(file, channel.gpus[i].line, "<gpu>: expected each GPU once, got this one twice");
    seen[static_cast<size_t>(seats[i])] = true;
    placed.ranks.push_back(box.first_rank + seats[i]);
  }
  if (boxes.size() == 1) return placed;
  for (const Device& net : channel.nets)
    placed.nics.push_back(
        only_one(with_number(graph, box.nics, net.dev), net, box, graph, "net", file));
  return placed;
}

std::vector<int32_t> way_inside(const Box& box, const Graph& graph, int32_t from, int32_t to) {
  const Ways ways = ways_out_of(box, graph, from);
  std::vector<int32_t> between;
  if (ways.before[static_cast<size_t>(to)] < 0) return between;
  for (int32_t at = ways.before[static_cast<size_t>(to)]; at != from;
       at = ways.before[static_cast<size_t>(at)])
    between.push_back(at);
  std::ranges::reverse(between);
  return between;
}

}  // namespace tutti::planner::nccl
