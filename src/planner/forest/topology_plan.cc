// SPDX-License-Identifier: Apache-2.0
// Bound first, then forests, then steps.
#include "src/planner/forest/topology_plan.h"

#include <algorithm>
#include <map>
#include <utility>

#include "src/base/error.h"
#include "src/planner/forest/partition.h"

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

void check_collective(Collective collective) {
  if (collective == Collective::kAllReduce || collective == Collective::kAllGather ||
      collective == Collective::kReduceScatter)
    return;
  throw Error(StatusCode::kInvalidArgument,
              std::string("forest: expected all_reduce, all_gather or reduce_scatter, got ") +
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
                : Rational::of(a.numerator * b.denominator + b.numerator * a.denominator,
                               a.denominator * b.denominator);
}

void plan_all_reduce(const topology::Graph& graph, const TopologyRequest& request,
                     TopologyPlan* planned) {
  const FlowNetwork& network = planned->network;
  const Bound out = all_gather_bound(network, graph);
  Forest gather = forest_within(network, out.inverse_rate, request.share_of_bound);
  // On a symmetric network what leads out of a root also leads into it.
  const FlowNetwork reverse = reversed(network);
  const bool symmetric = is_symmetric(network);
  const Rational in = symmetric ? out.inverse_rate : all_gather_bound(reverse, graph).inverse_rate;
  const Forest other =
      symmetric ? Forest{} : matching_forest(reverse, in, gather.trees_per_terminal);
  const Forests forests{.gather = &gather, .scatter = symmetric ? &gather : &other};
  planned->forest_bound = sum(in, out.inverse_rate);
  planned->time = sum(forests.scatter->inverse_rate, gather.inverse_rate);
  planned->trees_per_terminal = gather.trees_per_terminal;
  PartitionBound partition = all_reduce_bound(network, graph, out);
  planned->bound = partition.inverse_rate;
  planned->parts = parts_of_graph(graph, network, std::move(partition.parts));
  planned->placed =
      forest_plan("forest", request.collective, forests, network, request.max_channels);
}

// AllGather on the network, or ReduceScatter, which is AllGather on the reversed one.
void plan_one_way(const topology::Graph& graph, const TopologyRequest& request,
                  TopologyPlan* planned) {
  const bool scatters = request.collective == Collective::kReduceScatter;
  const FlowNetwork way = scatters ? reversed(planned->network) : planned->network;
  const Bound bound = all_gather_bound(way, graph);
  const Forest forest = forest_within(way, bound.inverse_rate, request.share_of_bound);
  planned->bound = planned->forest_bound = bound.inverse_rate;
  planned->parts = parts_of_graph(graph, planned->network, {members(bound.inside)});
  planned->time = forest.inverse_rate;
  planned->trees_per_terminal = forest.trees_per_terminal;
  planned->placed = forest_plan("forest", request.collective,
                                {.gather = &forest, .scatter = &forest}, way, request.max_channels);
}

}  // namespace

TopologyPlan plan_for(const topology::Graph& graph, const TopologyRequest& request) {
  check_collective(request.collective);
  TopologyPlan planned;
  planned.network = flow_network(graph);
  if (request.collective == Collective::kAllReduce)
    plan_all_reduce(graph, request, &planned);
  else
    plan_one_way(graph, request, &planned);
  return planned;
}

}  // namespace tutti::planner
