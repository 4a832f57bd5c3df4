// SPDX-License-Identifier: Apache-2.0
// Reduces a topology to what a planner needs of it.
#include "src/planner/forest/flow_network.h"

#include <algorithm>
#include <map>
#include <numeric>
#include <set>
#include <tuple>
#include <utility>

#include <spdlog/fmt/fmt.h>

#include "src/base/error.h"

namespace tutti::planner {
namespace {

using topology::Graph;
using topology::Link;
using topology::NodeKind;

bool is_gpu_side(const Graph& graph, int32_t node) {
  const NodeKind kind = graph.nodes[node].kind;
  return kind == NodeKind::kGpu || kind == NodeKind::kNvSwitch;
}

std::string describe(const Graph& graph, const Link& link) {
  return fmt::format("{} link {} to {}", topology::to_text(link.type), graph.nodes[link.from].id,
                     graph.nodes[link.to].id);
}

bool is_known(const Link& link) {
  return link.forward_mbit_s != topology::kUnknown && link.reverse_mbit_s != topology::kUnknown;
}

void add_up(Graph* graph, const Link& link, const ViewOptions& options,
            std::map<std::pair<int32_t, int32_t>, size_t>* seen) {
  const bool turned = link.from > link.to;
  const auto [at, is_new] = seen->try_emplace(
      {std::min(link.from, link.to), std::max(link.from, link.to)}, graph->links.size());
  if (is_new) {
    Link first = link;
    first.from = at->first.first;
    first.to = at->first.second;
    first.forward_mbit_s = 0;
    first.reverse_mbit_s = 0;
    graph->links.push_back(first);
  }
  const auto capacity = [&](int64_t mbit_s) {
    return options.unit_capacity && mbit_s > 0 ? topology::kMbitPerGigabyte : mbit_s;
  };
  Link& sum = graph->links[at->second];
  sum.forward_mbit_s += capacity(turned ? link.reverse_mbit_s : link.forward_mbit_s);
  sum.reverse_mbit_s += capacity(turned ? link.forward_mbit_s : link.reverse_mbit_s);
}

// Switches that a way could enter only to come back over the same link, again and again until none
// is left.
std::vector<bool> useful_nodes(const Graph& graph, const std::vector<bool>& is_terminal) {
  std::vector<std::set<int32_t>> neighbours(graph.nodes.size());
  for (const Link& link : graph.links) {
    neighbours[link.from].insert(link.to);
    neighbours[link.to].insert(link.from);
  }
  std::vector<bool> useful(graph.nodes.size(), true);
  std::vector<int32_t> ends;
  const auto drop_if_end = [&](int32_t node) {
    if (!useful[node] || is_terminal[node] || neighbours[node].size() > 1) return;
    useful[node] = false;
    ends.push_back(node);
  };
  for (int32_t node = 0; node < static_cast<int32_t>(graph.nodes.size()); ++node) drop_if_end(node);
  while (!ends.empty()) {
    const int32_t end = ends.back();
    ends.pop_back();
    for (const int32_t other : neighbours[end]) {
      neighbours[other].erase(end);
      drop_if_end(other);
    }
  }
  return useful;
}

std::vector<int32_t> terminals_of(const Graph& graph) {
  std::vector<int32_t> terminals = nodes_of_kind(graph, NodeKind::kGpu);
  if (terminals.empty()) terminals = nodes_of_kind(graph, NodeKind::kNuma);
  if (terminals.empty())
    throw Error(StatusCode::kInvalidArgument,
                "topology: expected GPUs or NUMA nodes to plan for, found neither");
  return terminals;
}

}  // namespace

View view_of(const Graph& topology, const ViewOptions& options) {
  View view{.graph = {.nodes = topology.nodes, .links = {}}, .notes = {}};
  std::map<std::pair<int32_t, int32_t>, size_t> seen;
  for (const Link& link : topology.links) {
    if (options.gpu_links_only &&
        !(is_gpu_side(topology, link.from) && is_gpu_side(topology, link.to)))
      continue;
    if (!is_known(link) && !options.unit_capacity) {
      view.notes.push_back(describe(topology, link) + ": bandwidth is not known, left out");
      continue;
    }
    if (link.forward_mbit_s == 0 && link.reverse_mbit_s == 0) {
      view.notes.push_back(describe(topology, link) + ": is down, left out");
      continue;
    }
    if (std::max(link.forward_mbit_s, link.reverse_mbit_s) > verify::kMostMbitPerSecond)
      throw Error(StatusCode::kInvalidArgument,
                  fmt::format("topology: {}: expected at most {} Mbit/s, got {}",
                              describe(topology, link), verify::kMostMbitPerSecond,
                              std::max(link.forward_mbit_s, link.reverse_mbit_s)));
    Link known = link;
    if (known.forward_mbit_s == topology::kUnknown) known.forward_mbit_s = 1;
    if (known.reverse_mbit_s == topology::kUnknown) known.reverse_mbit_s = 1;
    add_up(&view.graph, known, options, &seen);
  }
  return view;
}

FlowNetwork flow_network(const Graph& graph) {
  const std::vector<int32_t> terminals = terminals_of(graph);
  std::vector<bool> is_terminal(graph.nodes.size(), false);
  for (const int32_t node : terminals) is_terminal[node] = true;
  const std::vector<bool> useful = useful_nodes(graph, is_terminal);

  FlowNetwork network;
  network.n_terminals = static_cast<int32_t>(terminals.size());
  network.graph_node = terminals;
  std::vector<bool> has_link(graph.nodes.size(), false);
  for (const Link& link : graph.links) has_link[link.from] = has_link[link.to] = true;
  std::vector<int32_t> number(graph.nodes.size(), -1);
  for (size_t node = 0; node < graph.nodes.size(); ++node)
    if (!is_terminal[node] && useful[node] && has_link[node])
      network.graph_node.push_back(static_cast<int32_t>(node));
  for (size_t i = 0; i < network.graph_node.size(); ++i)
    number[network.graph_node[i]] = static_cast<int32_t>(i);

  int64_t unit = 0;
  const auto add = [&](int32_t from, int32_t to, int64_t capacity, verify::Hop hop) {
    if (number[from] < 0 || number[to] < 0 || capacity == 0) return;
    network.arcs.push_back({number[from], number[to], capacity, hop});
    unit = std::gcd(unit, capacity);
  };
  for (size_t i = 0; i < graph.links.size(); ++i) {
    const Link& link = graph.links[i];
    add(link.from, link.to, link.forward_mbit_s, {static_cast<int32_t>(i), false});
    add(link.to, link.from, link.reverse_mbit_s, {static_cast<int32_t>(i), true});
  }
  network.unit_mbit_s = std::max<int64_t>(unit, 1);
  for (FlowNetwork::Arc& arc : network.arcs) arc.capacity /= network.unit_mbit_s;
  return network;
}

FlowNetwork reversed(const FlowNetwork& network) {
  FlowNetwork reverse = network;
  for (FlowNetwork::Arc& arc : reverse.arcs) {
    std::swap(arc.from, arc.to);
    arc.hop.reverse = !arc.hop.reverse;
  }
  return reverse;
}

}  // namespace tutti::planner
