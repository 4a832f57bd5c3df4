// SPDX-License-Identifier: Apache-2.0
// Bound first, then forests, then steps.
#include "src/planner/forest/topology_plan.h"

#include <algorithm>
#include <map>
#include <utility>

#include "src/base/error.h"

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
Forest matching_forest(const FlowNetwork& network, const topology::Graph& graph, int64_t k) {
  const Bound bound = all_gather_bound(network, graph);
  constexpr int64_t kPatience = 2;  // times the bound
  const Rational slowest =
      Rational::of(bound.inverse_rate.numerator * kPatience, bound.inverse_rate.denominator);
  std::optional<Forest> forest = forest_with(network, k, bound.inverse_rate, slowest);
  if (!forest)
    throw Error(StatusCode::kInternalError,
                "planner: no forest of " + std::to_string(k) +
                    " trees per terminal is within half of the bound, one way");
  return std::move(*forest);
}

}  // namespace

TopologyPlan plan_for(const topology::Graph& graph, const TopologyRequest& request) {
  check_collective(request.collective);
  const bool scatters = request.collective == Collective::kReduceScatter;
  TopologyPlan planned;
  planned.network = flow_network(graph);
  const bool symmetric = is_symmetric(planned.network);
  const FlowNetwork reverse = reversed(planned.network);
  const FlowNetwork& first = scatters ? reverse : planned.network;
  planned.bound = all_gather_bound(first, graph);
  const Forest forest = forest_within(first, planned.bound.inverse_rate, request.share_of_bound);
  planned.inverse_rate = forest.inverse_rate;
  planned.trees_per_terminal = forest.trees_per_terminal;

  Forests forests{.gather = &forest, .scatter = &forest};
  Forest other;
  // On a symmetric network what leads out of a root also leads into it.
  if (request.collective == Collective::kAllReduce && !symmetric) {
    other = matching_forest(reverse, graph, forest.trees_per_terminal);
    forests.scatter = &other;
    planned.inverse_rate = std::max(planned.inverse_rate, other.inverse_rate);
  }
  planned.placed = forest_plan(request.collective, forests, first, request.max_channels);
  return planned;
}

}  // namespace tutti::planner
