// SPDX-License-Identifier: Apache-2.0
// Looks for the partition with the strictest bound.
#include "src/planner/forest/partition.h"

#include <algorithm>
#include <map>
#include <optional>

#include "src/planner/flow/max_flow.h"
#include "src/planner/hierarchy/machines.h"

namespace tutti::planner {
namespace {

using Parts = std::vector<std::vector<int32_t>>;

int64_t entering(const FlowNetwork& network, const Parts& parts) {
  std::vector<int32_t> part_of(static_cast<size_t>(network.n_nodes()), -1);
  for (size_t part = 0; part < parts.size(); ++part)
    for (const int32_t node : parts[part]) part_of[node] = static_cast<int32_t>(part);
  int64_t capacity = 0;
  for (const FlowNetwork::Arc& arc : network.arcs)
    if (part_of[arc.to] >= 0 && part_of[arc.from] != part_of[arc.to]) capacity += arc.capacity;
  return capacity;
}

// Switches that reduce join the first part, which only weakens the bound.
void add_reducing_switches(const FlowNetwork& network, const topology::Graph& graph, Parts* parts) {
  std::vector<bool> in_part(static_cast<size_t>(network.n_nodes()), false);
  for (const auto& part : *parts)
    for (const int32_t node : part) in_part[node] = true;
  for (int32_t node = network.n_terminals; node < network.n_nodes(); ++node)
    if (!in_part[node] && graph.nodes[network.graph_node[node]].attributes.reduces)
      parts->front().push_back(node);
}

Parts singletons(const FlowNetwork& network) {
  Parts parts;
  for (int32_t t = 0; t < network.n_terminals; ++t) parts.push_back({t});
  return parts;
}

// By the machine that holds them; network switches are in none.
Parts machines(const FlowNetwork& network, const topology::Graph& graph) {
  std::map<int32_t, std::vector<int32_t>> by_machine;
  for (int32_t node = 0; node < network.n_nodes(); ++node) {
    const int32_t machine = machine_of(graph, network.graph_node[node]);
    if (graph.nodes[machine].kind == topology::NodeKind::kMachine)
      by_machine[machine].push_back(node);
  }
  Parts parts;
  for (auto& [machine, nodes] : by_machine) parts.push_back(std::move(nodes));
  std::erase_if(parts, [&](const std::vector<int32_t>& part) {
    return std::ranges::none_of(part, [&](int32_t node) { return node < network.n_terminals; });
  });
  return parts;
}

// The machines of each leaf of a cluster, and the switches that they are on.
Parts leaves(const FlowNetwork& network, const topology::Graph& graph) {
  const std::optional<Cluster> cluster = cluster_of(graph, network);
  if (!cluster || cluster->n_leaves() < 2) return {};
  std::map<int32_t, size_t> leaf_of_machine;
  for (size_t leaf = 0; leaf < cluster->leaves.size(); ++leaf)
    for (const auto& machine : cluster->leaves[leaf])
      leaf_of_machine[machine_of(graph, network.graph_node[machine.front()])] = leaf;
  std::vector<size_t> leaf_of(static_cast<size_t>(network.n_nodes()), SIZE_MAX);
  for (int32_t node = 0; node < network.n_nodes(); ++node) {
    const auto found = leaf_of_machine.find(machine_of(graph, network.graph_node[node]));
    if (found != leaf_of_machine.end()) leaf_of[node] = found->second;
  }
  const std::vector<size_t> machines_only = leaf_of;
  for (const FlowNetwork::Arc& arc : network.arcs)
    if (machines_only[arc.to] == SIZE_MAX && machines_only[arc.from] != SIZE_MAX)
      leaf_of[arc.to] = machines_only[arc.from];
  Parts parts(cluster->leaves.size());
  for (int32_t node = 0; node < network.n_nodes(); ++node)
    if (leaf_of[node] != SIZE_MAX) parts[leaf_of[node]].push_back(node);
  return parts;
}

// The far side of a minimum cut between a source that feeds all terminals at the bound's rate and
// one terminal; of all such sides the one with the fewest nodes: every node on it costs a little.
class FilledSets {
 public:
  FilledSets(const FlowNetwork& network, const Rational& inverse_rate)
      : network_(network), flow_(network.n_nodes() + 1), weight_(network.n_nodes() + 1) {
    for (const FlowNetwork::Arc& arc : network.arcs)
      flow_.add_arc(arc.from, arc.to, weight_ * arc.capacity * inverse_rate.numerator);
    for (int32_t t = 0; t < network.n_terminals; ++t)
      flow_.add_arc(network.n_nodes(), t, weight_ * inverse_rate.denominator);
    for (int32_t node = 0; node < network.n_nodes(); ++node)
      flow_.add_arc(network.n_nodes(), node, 1);
  }

  // Do the flows' numbers fit?
  static bool fits(const FlowNetwork& network, const Rational& inverse_rate) {
    return Rational::Wide{inverse_rate.denominator} * network.n_terminals *
               (network.n_nodes() + 1) <=
           INT64_MAX / 4;
  }

  // All nodes where the terminal could receive more than the rate asks for.
  std::vector<int32_t> around(int32_t terminal) {
    flow_.run(network_.n_nodes(), terminal);
    const std::vector<bool> side = flow_.source_side();
    std::vector<int32_t> nodes;
    for (int32_t node = 0; node < network_.n_nodes(); ++node)
      if (!side[node]) nodes.push_back(node);
    return nodes;
  }

 private:
  const FlowNetwork& network_;
  MaxFlow flow_;
  int64_t weight_;  // of capacities, against 1 for a node
};

// Sets that are filled, smallest first, as long as they don't overlap; the other terminals alone.
Parts filled_parts(const FlowNetwork& network, const Bound& gather) {
  constexpr int32_t kMostTerminals = 2048;  // as many flows
  if (network.n_terminals > kMostTerminals || !FilledSets::fits(network, gather.inverse_rate))
    return {};
  FilledSets sets(network, gather.inverse_rate);
  Parts found;
  for (int32_t t = 0; t < network.n_terminals; ++t) {
    std::vector<int32_t> set = sets.around(t);
    const auto terminals =
        std::ranges::count_if(set, [&](int32_t node) { return node < network.n_terminals; });
    if (terminals < network.n_terminals) found.push_back(std::move(set));
  }
  std::ranges::stable_sort(found, {}, [](const auto& set) { return set.size(); });
  std::vector<bool> taken(static_cast<size_t>(network.n_nodes()), false);
  Parts parts;
  for (auto& set : found) {
    if (std::ranges::any_of(set, [&](int32_t node) { return taken[node]; })) continue;
    for (const int32_t node : set) taken[node] = true;
    parts.push_back(std::move(set));
  }
  for (int32_t t = 0; t < network.n_terminals; ++t)
    if (!taken[t]) parts.push_back({t});
  return parts;
}

// AllGather's cut, with all on its other side.
Parts two_sides(const FlowNetwork& network, const Bound& gather) {
  Parts parts(2);
  for (int32_t node = 0; node < network.n_nodes(); ++node)
    parts[gather.inside[node] ? 0 : 1].push_back(node);
  return parts;
}

}  // namespace

PartitionBound all_reduce_bound(const FlowNetwork& network, const topology::Graph& graph,
                                const Bound& gather) {
  PartitionBound best;
  if (network.n_terminals < 2) return best;
  for (Parts parts :
       {singletons(network), filled_parts(network, gather), two_sides(network, gather),
        machines(network, graph), leaves(network, graph)}) {
    if (parts.size() < 2) continue;
    add_reducing_switches(network, graph, &parts);
    const int64_t capacity = entering(network, parts);
    if (capacity == 0) continue;
    const auto p = static_cast<int64_t>(parts.size());
    const Rational rate = Rational::of(2 * (p - 1) * network.n_terminals, capacity);
    if (rate > best.inverse_rate) best = {rate, std::move(parts)};
  }
  return best;
}

}  // namespace tutti::planner
