// SPDX-License-Identifier: Apache-2.0
// Bound first, then forests, then steps.
#include "src/planner/forest/topology_plan.h"

#include <algorithm>
#include <iterator>
#include <map>
#include <utility>

#include <spdlog/fmt/fmt.h>

#include "src/base/error.h"
#include "src/planner/alltoall/alltoall_plan.h"
#include "src/planner/alltoall/bound.h"
#include "src/planner/forest/candidate.h"
#include "src/planner/forest/partition.h"
#include "src/planner/forest/rings.h"
#include "src/planner/forest/switch_plan.h"
#include "src/planner/planner.h"
#include "src/verify/routes.h"

namespace tutti::planner {
namespace {

using plan::Collective;

// Nodes of the graph that are not in the network hang from one that is, and go with it: a part's
// border must not cross what leads nowhere.
std::vector<std::vector<int32_t>> parts_of_graph(const topology::Graph& graph,
                                                 const FlowNetwork& network,
                                                 std::vector<std::vector<int32_t>> parts) {
  std::vector<bool> placed(graph.nodes.size(), false);
  for (const int32_t node : network.graph_node) placed[node] = true;
  std::vector<std::vector<int32_t>> neighbours(graph.nodes.size());
  for (const topology::Link& link : graph.links) {
    neighbours[link.from].push_back(link.to);
    neighbours[link.to].push_back(link.from);
  }
  for (auto& part : parts) {
    for (int32_t& node : part) node = network.graph_node[node];
    for (size_t i = 0; i < part.size(); ++i)  // grows
      for (const int32_t other : neighbours[part[i]])
        if (!placed[other]) {
          placed[other] = true;
          part.push_back(other);
        }
    std::ranges::sort(part);
  }
  return parts;
}

std::vector<int32_t> members(const std::vector<bool>& inside) {
  std::vector<int32_t> nodes;
  for (size_t node = 0; node < inside.size(); ++node)
    if (inside[node]) nodes.push_back(static_cast<int32_t>(node));
  return nodes;
}

Rational sum(const Rational& a, const Rational& b) {
  return a == b ? Rational::of(2 * a.numerator, a.denominator)
                : Rational::of_wide(Rational::Wide{a.numerator} * b.denominator +
                                        Rational::Wide{b.numerator} * a.denominator,
                                    Rational::Wide{a.denominator} * b.denominator);
}

// On a symmetric network, or one way, the trees of one forest serve both directions.
Candidate one_forest_candidate(const char* algorithm, const Forest& forest,
                               const topology::Graph& graph, const FlowNetwork& network,
                               Collective collective, const PlanBudget& budget) {
  return candidate_of(
      algorithm,
      forest_plan(algorithm, collective, {.gather = &forest, .scatter = &forest}, network, budget),
      graph, network);
}

// Rings of a direction lead to rings of the other where links have one capacity.
std::vector<Candidate> ring_and_tree_candidates(const topology::Graph& graph,
                                                const FlowNetwork& network, Collective collective,
                                                const PlanBudget& budget) {
  std::vector<Candidate> found;
  const FlowNetwork way = collective == Collective::kReduceScatter ? reversed(network) : network;
  const auto add = [&](const char* name, const std::optional<Forest>& forest) {
    if (forest)
      found.push_back(one_forest_candidate(name, *forest, graph, network, collective, budget));
  };
  if (collective == Collective::kAllReduce && !is_symmetric(network)) return found;
  add("ring", ring_forest(way, budget.channels));
  if (collective == Collective::kAllReduce) add("tree", double_tree_forest(network, graph));
  return found;
}

std::vector<Candidate> table_candidates(const topology::Graph& graph, const FlowNetwork& network,
                                        Collective collective) {
  std::vector<Candidate> found;
  const PlanRequest request{.collective = collective, .n_ranks = network.n_terminals};
  const std::vector<int32_t> nodes(network.graph_node.begin(),
                                   network.graph_node.begin() + network.n_terminals);
  for (const AlgorithmRow& row : algorithm_table()) {
    const std::string_view name = row.name;
    if (row.collective != collective || !row.supports(request) || name == "ring" || name == "tree")
      continue;
    PlacedPlan placed{row.build(request), {}};
    placed.placement = verify::place_by_shortest_paths(placed.plan, graph, nodes);
    if (passes_through_a_terminal(placed.placement, graph)) continue;
    found.push_back(candidate_of(row.name, std::move(placed), graph, network));
  }
  return found;
}

std::vector<Candidate> switch_candidates(const topology::Graph& graph, const FlowNetwork& network,
                                         Collective collective, const PlanBudget& budget) {
  std::vector<Candidate> found;
  for (PlacedPlan& placed : switch_plans(collective, network, graph, budget)) {
    std::string algorithm = placed.plan.algorithm;
    found.push_back(candidate_of(std::move(algorithm), std::move(placed), graph, network));
  }
  return found;
}

TopologyBound all_to_all_topology_bound(const topology::Graph& graph, const FlowNetwork& network) {
  const AllToAllBound bound = all_to_all_bound(network, graph);
  TopologyBound found{.time = bound.inverse_rate,
                      .parts = parts_of_graph(graph, network, {members(bound.inside)}),
                      .lengths = std::vector<std::array<int64_t, 2>>(graph.links.size(), {0, 0}),
                      .forest_time = bound.inverse_rate,
                      .cut_time = bound.cut,
                      .optimal = bound.optimal};
  for (size_t i = 0; i < network.arcs.size(); ++i) {
    const verify::Hop& hop = network.arcs[i].hop;
    found.lengths[hop.link][hop.reverse ? 1 : 0] = bound.lengths[i];
  }
  return found;
}

std::vector<Candidate> all_to_all_candidates(const topology::Graph& graph,
                                             const FlowNetwork& network, const PlanBudget& budget,
                                             const TopologyBound& bound) {
  SpreadGoal goal{bound.time, {}};
  for (const FlowNetwork::Arc& arc : network.arcs)
    goal.lengths.push_back(bound.lengths[arc.hop.link][arc.hop.reverse ? 1 : 0]);
  std::vector<Candidate> found;
  for (NamedPlan& plan : all_to_all_plans(network, graph, goal, budget))
    found.push_back(candidate_of(plan.algorithm, std::move(plan.placed), graph, network));
  std::ranges::move(table_candidates(graph, network, Collective::kAllToAll),
                    std::back_inserter(found));
  return found;
}

}  // namespace

TopologyBound topology_bound(const topology::Graph& graph, const FlowNetwork& network,
                             Collective collective) {
  check_terminals(graph, network);
  if (collective == Collective::kAllToAll) return all_to_all_topology_bound(graph, network);
  check_collective(collective);
  if (collective != Collective::kAllReduce) {
    const bool scatters = collective == Collective::kReduceScatter;
    const Bound bound = all_gather_bound(scatters ? reversed(network) : network, graph);
    return {bound.inverse_rate,
            parts_of_graph(graph, network, {members(bound.inside)}),
            {},
            bound.inverse_rate};
  }
  const Bound out = all_gather_bound(network, graph);
  const Rational in = is_symmetric(network)
                          ? out.inverse_rate
                          : all_gather_bound(reversed(network), graph).inverse_rate;
  PartitionBound partition = all_reduce_bound(network, graph, out);
  return {partition.inverse_rate,
          parts_of_graph(graph, network, std::move(partition.parts)),
          {},
          sum(in, out.inverse_rate)};
}

std::vector<Candidate> all_candidates(const topology::Graph& graph, const FlowNetwork& network,
                                      Collective collective, const PlanBudget& budget,
                                      const TopologyBound* bound) {
  if (collective == Collective::kAllToAll)
    return all_to_all_candidates(
        graph, network, budget,
        bound != nullptr ? *bound : topology_bound(graph, network, collective));
  // Of the bound: fewer trees make larger messages, and lanes that wait for fewer neighbours.
  constexpr double kShares[] = {0.999, 0.97, 0.95, 0.9, 0.8};
  std::vector<Candidate> candidates =
      forest_candidates(graph, network, collective, kShares, budget);
  for (auto& more : {ring_and_tree_candidates(graph, network, collective, budget),
                     switch_candidates(graph, network, collective, budget),
                     table_candidates(graph, network, collective)})
    candidates.insert(candidates.end(), more.begin(), more.end());
  return candidates;
}

}  // namespace tutti::planner
