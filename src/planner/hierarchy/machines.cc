// SPDX-License-Identifier: Apache-2.0
// Finds machines, and the leaf switches that they share.
#include "src/planner/hierarchy/machines.h"

#include <algorithm>
#include <map>
#include <set>
#include <tuple>
#include <utility>

namespace tutti::planner {
namespace {

using topology::Graph;
using topology::NodeKind;

using Machines = std::map<int32_t, std::vector<int32_t>>;  // terminals, by the machine's node

bool have_equal_sizes(const auto& groups) {
  return std::ranges::all_of(
      groups, [&](const auto& group) { return group.size() == groups.front().size(); });
}

// Network switches next to a machine's parts.
std::map<int32_t, std::set<int32_t>> switches_of_machines(const Graph& graph) {
  std::map<int32_t, std::set<int32_t>> switches;
  for (const topology::Link& link : graph.links)
    for (const auto& [node, other] : {std::pair(link.from, link.to), std::pair(link.to, link.from)})
      if (graph.nodes[other].kind == NodeKind::kNetSwitch &&
          graph.nodes[node].kind != NodeKind::kNetSwitch)
        switches[machine_of(graph, node)].insert(other);
  return switches;
}

}  // namespace

int32_t machine_of(const Graph& graph, int32_t node) {
  int32_t machine = 0;
  for (int32_t at = node; at >= 0; at = graph.nodes[at].parent)
    if (graph.nodes[at].kind == NodeKind::kMachine) machine = at;
  return machine;
}

std::optional<Cluster> cluster_of(const Graph& graph, const FlowNetwork& network) {
  Machines machines;
  for (int32_t t = 0; t < network.n_terminals; ++t)
    machines[machine_of(graph, network.graph_node[t])].push_back(t);
  if (machines.size() < 2) return std::nullopt;

  const auto switches = switches_of_machines(graph);
  std::map<std::set<int32_t>, std::vector<std::vector<int32_t>>> by_switches;
  std::vector<std::vector<int32_t>> all;
  for (const auto& [machine, terminals] : machines) {
    all.push_back(terminals);
    const auto found = switches.find(machine);
    by_switches[found == switches.end() ? std::set<int32_t>{} : found->second].push_back(terminals);
  }
  if (!have_equal_sizes(all)) return std::nullopt;
  Cluster cluster;
  for (auto& [key, leaf] : by_switches) cluster.leaves.push_back(std::move(leaf));
  if (!have_equal_sizes(cluster.leaves)) cluster.leaves = {std::move(all)};
  return cluster;
}

std::vector<FlowNetwork> machine_networks(const Graph& graph, const FlowNetwork& network,
                                          const Cluster& cluster) {
  std::vector<FlowNetwork> parts;
  std::map<int32_t, size_t> part_of_machine;
  std::vector<int32_t> number(static_cast<size_t>(network.n_nodes()), -1);
  std::vector<size_t> part_of(static_cast<size_t>(network.n_nodes()), SIZE_MAX);
  const auto add = [&](int32_t node, size_t part) {
    part_of[node] = part;
    number[node] = parts[part].n_nodes();
    parts[part].graph_node.push_back(network.graph_node[node]);
  };
  for (const auto& leaf : cluster.leaves)
    for (const auto& terminals : leaf) {
      part_of_machine[machine_of(graph, network.graph_node[terminals.front()])] = parts.size();
      parts.push_back({.n_terminals = static_cast<int32_t>(terminals.size()),
                       .graph_node = {},
                       .arcs = {},
                       .unit_mbit_s = network.unit_mbit_s});
      for (const int32_t t : terminals) add(t, parts.size() - 1);
    }
  for (int32_t node = network.n_terminals; node < network.n_nodes(); ++node) {
    const auto found = part_of_machine.find(machine_of(graph, network.graph_node[node]));
    if (found != part_of_machine.end()) add(node, found->second);
  }
  for (const FlowNetwork::Arc& arc : network.arcs) {
    const size_t part = part_of[arc.from];
    if (part == SIZE_MAX || part_of[arc.to] != part) continue;
    parts[part].arcs.push_back({number[arc.from], number[arc.to], arc.capacity, arc.hop});
  }
  return parts;
}

bool are_alike(const FlowNetwork& a, const FlowNetwork& b) {
  const auto key = [](const FlowNetwork::Arc& arc) {
    return std::tuple(arc.from, arc.to, arc.capacity, arc.hop.reverse);
  };
  return a.n_terminals == b.n_terminals && a.n_nodes() == b.n_nodes() &&
         std::ranges::equal(a.arcs, b.arcs, {}, key, key);
}

}  // namespace tutti::planner
