// SPDX-License-Identifier: Apache-2.0
// Forests for one direction or both, as plans.
#include "src/planner/forest/candidate.h"

#include <algorithm>
#include <map>
#include <optional>
#include <utility>

#include <spdlog/fmt/fmt.h>

#include "src/base/error.h"
#include "src/planner/forest/bound.h"
#include "src/planner/forest/forest.h"
#include "src/verify/routes.h"

namespace tutti::planner {
namespace {

using plan::Collective;

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

Candidate forest_along(const Directions& ways, const topology::Graph& graph,
                       const FlowNetwork& network, Collective collective, double share,
                       const PlanBudget& budget) {
  const ForestPair pair = forests_for(ways, share);
  const Forests forests{.gather = &pair.gather,
                        .scatter = pair.scatter ? &*pair.scatter : &pair.gather};
  return candidate_of("forest", forest_plan("forest", collective, forests, network, budget), graph,
                      network);
}

}  // namespace

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

Candidate candidate_of(std::string algorithm, PlacedPlan placed, const topology::Graph& graph,
                       const FlowNetwork& network) {
  Candidate made{std::move(algorithm), std::move(placed), {}};
  made.placed.plan.algorithm = made.algorithm;
  made.time = busiest_link_time(made.placed, graph, network);
  return made;
}

Candidate forest_candidate(const topology::Graph& graph, const FlowNetwork& network,
                           Collective collective, double share, const PlanBudget& budget) {
  check_collective(collective);
  check_terminals(graph, network);
  return forest_along(directions_of(graph, network, collective), graph, network, collective, share,
                      budget);
}

std::vector<Candidate> forest_candidates(const topology::Graph& graph, const FlowNetwork& network,
                                         Collective collective, std::span<const double> shares,
                                         const PlanBudget& budget) {
  check_collective(collective);
  check_terminals(graph, network);
  const Directions ways = directions_of(graph, network, collective);
  std::vector<Candidate> candidates;
  for (const double share : shares) {
    Candidate next = forest_along(ways, graph, network, collective, share, budget);
    const int32_t chunks = next.placed.plan.shape.chunks_per_block;
    if (!candidates.empty()) {
      if (chunks >= candidates.back().placed.plan.shape.chunks_per_block) continue;
      next.algorithm = next.placed.plan.algorithm = fmt::format("forest_{}", chunks);
    }
    candidates.push_back(std::move(next));
  }
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
