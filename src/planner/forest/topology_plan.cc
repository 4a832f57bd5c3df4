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
#include "src/planner/forest/partition.h"
#include "src/planner/forest/rings.h"
#include "src/planner/planner.h"
#include "src/verify/routes.h"

namespace tutti::planner {
namespace {

using plan::Collective;

bool is_symmetric(const FlowNetwork& network) {
  std::map<std::pair<int32_t, int32_t>, int64_t> balance;
  for (const FlowNetwork::Arc& arc : network.arcs) {
    const bool up = arc.from < arc.to;
    balance[{std::min(arc.from, arc.to), std::max(arc.from, arc.to)}] +=
        up ? arc.capacity : -arc.capacity;
  }
  return std::ranges::all_of(balance, [](const auto& entry) { return entry.second == 0; });
}

void check_terminals(const topology::Graph& graph, const FlowNetwork& network) {
  if (network.n_terminals > 1) return;
  throw Error(StatusCode::kInvalidArgument,
              fmt::format("topology: expected two GPUs or more to plan for, found {} alone",
                          graph.nodes[network.graph_node.front()].id));
}

void check_collective(Collective collective) {
  if (collective == Collective::kAllReduce || collective == Collective::kAllGather ||
      collective == Collective::kReduceScatter)
    return;
  throw Error(StatusCode::kInvalidArgument,
              std::string("topology: expected all_reduce, all_gather, reduce_scatter or all_to_all "
                          "(which has no forest), got ") +
                  plan::name(collective));
}

// With the trees of the other direction as many as this has.
Forest matching_forest(const FlowNetwork& network, const Rational& bound, int64_t k) {
  constexpr int64_t kPatience = 2;  // times the bound
  const Rational slowest = Rational::of(bound.numerator * kPatience, bound.denominator);
  std::optional<Forest> forest = forest_with(network, k, bound, slowest);
  if (!forest)
    throw Error(StatusCode::kInternalError,
                "planner: no forest of " + std::to_string(k) +
                    " trees per terminal is within half of the bound, one way");
  return std::move(*forest);
}

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

// Forests for both directions of a network.
struct ForestPair {
  Forest gather;
  std::optional<Forest> scatter;  // none: as `gather`
};

// The directions that a collective's forests are for, each with its bound: ReduceScatter is
// AllGather on the reversed network, and an AllReduce wants that too where the directions differ.
struct Directions {
  FlowNetwork first;
  Rational bound;
  std::optional<FlowNetwork> second;
  Rational second_bound;
};

Directions directions_of(const topology::Graph& graph, const FlowNetwork& network,
                         Collective collective) {
  const bool scatters = collective == Collective::kReduceScatter;
  Directions ways{.first = scatters ? reversed(network) : network};
  ways.bound = all_gather_bound(ways.first, graph).inverse_rate;
  if (collective == Collective::kAllReduce && !is_symmetric(network)) {
    ways.second = reversed(network);
    ways.second_bound = all_gather_bound(*ways.second, graph).inverse_rate;
  }
  return ways;
}

ForestPair forests_for(const Directions& ways, double share) {
  ForestPair pair{forest_within(ways.first, ways.bound, share), {}};
  if (ways.second)
    pair.scatter = matching_forest(*ways.second, ways.second_bound, pair.gather.trees_per_terminal);
  return pair;
}

Candidate candidate(std::string algorithm, PlacedPlan placed, const topology::Graph& graph,
                    const FlowNetwork& network) {
  Candidate made{std::move(algorithm), std::move(placed), {}};
  made.placed.plan.algorithm = made.algorithm;
  made.time = busiest_link_time(made.placed, graph, network);
  return made;
}

Candidate forest_along(const Directions& ways, const topology::Graph& graph,
                       const FlowNetwork& network, Collective collective, double share,
                       const PlanBudget& budget) {
  const ForestPair pair = forests_for(ways, share);
  const Forests forests{.gather = &pair.gather,
                        .scatter = pair.scatter ? &*pair.scatter : &pair.gather};
  return candidate("forest", forest_plan("forest", collective, forests, network, budget), graph,
                   network);
}

// On a symmetric network, or one way, the trees of one forest serve both directions.
Candidate one_forest_candidate(const char* algorithm, const Forest& forest,
                               const topology::Graph& graph, const FlowNetwork& network,
                               Collective collective, const PlanBudget& budget) {
  return candidate(
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

bool passes_through_a_terminal(const PlacedPlan& placed, const topology::Graph& graph) {
  std::vector<bool> is_terminal(graph.nodes.size(), false);
  for (const int32_t node : placed.placement.node_of_rank) is_terminal[node] = true;
  return std::ranges::any_of(placed.placement.routes, [&](const verify::Route& route) {
    for (size_t i = 0; i + 1 < route.hops.size(); ++i) {
      const topology::Link& link = graph.links[route.hops[i].link];
      if (is_terminal[route.hops[i].reverse ? link.from : link.to]) return true;
    }
    return false;
  });
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
    if (passes_through_a_terminal(placed, graph)) continue;
    found.push_back(candidate(row.name, std::move(placed), graph, network));
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
    found.push_back(candidate(plan.algorithm, std::move(plan.placed), graph, network));
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

Candidate forest_candidate(const topology::Graph& graph, const FlowNetwork& network,
                           Collective collective, double share, const PlanBudget& budget) {
  check_collective(collective);
  check_terminals(graph, network);
  return forest_along(directions_of(graph, network, collective), graph, network, collective, share,
                      budget);
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
  check_collective(collective);
  check_terminals(graph, network);
  const Directions ways = directions_of(graph, network, collective);
  std::vector<Candidate> candidates;
  for (const double share : kShares) {
    Candidate next = forest_along(ways, graph, network, collective, share, budget);
    const int32_t chunks = next.placed.plan.shape.chunks_per_block;
    if (!candidates.empty()) {
      if (chunks >= candidates.back().placed.plan.shape.chunks_per_block) continue;
      next.algorithm = next.placed.plan.algorithm = fmt::format("forest_{}", chunks);
    }
    candidates.push_back(std::move(next));
  }
  for (auto& more : {ring_and_tree_candidates(graph, network, collective, budget),
                     table_candidates(graph, network, collective)})
    candidates.insert(candidates.end(), more.begin(), more.end());
  return candidates;
}

Rational busiest_link_time(const PlacedPlan& placed, const topology::Graph& graph,
                           const FlowNetwork& network) {
  const auto loads = verify::link_loads(placed.plan, placed.placement, graph);
  // A terminal's unit of data is an n-th of all chunks.
  const int64_t per_unit = plan::extent_count(placed.plan.shape);
  Rational busiest;
  for (size_t i = 0; i < loads.size(); ++i) {
    const topology::Link& link = graph.links[i];
    const auto take = [&](int64_t chunks, int64_t mbit_s) {
      if (chunks == 0) return;
      busiest = std::max(busiest, Rational::of(chunks * network.n_terminals,
                                               per_unit * (mbit_s / network.unit_mbit_s)));
    };
    take(loads[i].forward_chunks, link.forward_mbit_s);
    take(loads[i].reverse_chunks, link.reverse_mbit_s);
  }
  return busiest;
}

}  // namespace tutti::planner
