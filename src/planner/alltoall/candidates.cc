// SPDX-License-Identifier: Apache-2.0
// Which plans of an AllToAll are worth looking at.
#include <algorithm>
#include <optional>

#include <spdlog/fmt/fmt.h>

#include "src/base/error.h"
#include "src/planner/alltoall/alltoall_plan.h"

namespace tutti::planner {
namespace {

// All pairs of more are millions of steps.
constexpr int32_t kMostTerminals = 512;
// Of chunks times arcs, for which ways are spread.
constexpr int64_t kMostSpreadWork = 4'000'000;
constexpr int32_t kChunks[] = {1, 2, 3, 4, 6, 8};

bool has_relays(const BlockWays& ways, const FlowNetwork& network) {
  return std::ranges::any_of(ways.ways, [&](const BlockWay& way) {
    return std::any_of(way.arcs.begin(), way.arcs.end() - 1,
                       [&](int32_t arc) { return network.arcs[arc].to < network.n_terminals; });
  });
}

// In more and more chunks, as long as that gains something.
void add_spread(const FlowNetwork& network, const BlockWays& ways, const SpreadGoal& bound,
                const PlanBudget& budget, std::vector<NamedPlan>* plans) {
  constexpr double kWorthwhile = 0.999;
  double least = busiest_time(network, ways).value();
  for (const int32_t chunks : kChunks) {
    const auto work = static_cast<int64_t>(ways.ways.size() * network.arcs.size()) * chunks;
    if (!(bound.time.value() < least) || work > kMostSpreadWork) return;
    const BlockWays spread = spread_ways(network, ways, chunks, bound);
    const double time = busiest_time(network, spread).value();
    if (time > least * kWorthwhile) continue;
    least = time;
    const std::string algorithm = fmt::format("spread_{}", chunks);
    plans->push_back({algorithm, all_to_all_plan(algorithm, spread, network, budget)});
  }
}

}  // namespace

std::vector<NamedPlan> all_to_all_plans(const FlowNetwork& network, const topology::Graph& graph,
                                        const SpreadGoal& bound, const PlanBudget& budget) {
  if (network.n_terminals > kMostTerminals)
    throw Error(StatusCode::kInvalidArgument,
                fmt::format("all_to_all: expected at most {} GPUs to plan for, because every pair "
                            "has steps of its own, got {}",
                            kMostTerminals, network.n_terminals));
  std::vector<NamedPlan> plans;
  const auto add = [&](const char* algorithm, const BlockWays& ways) {
    plans.push_back({algorithm, all_to_all_plan(algorithm, ways, network, budget)});
  };
  std::optional<BlockWays> best = shortest_ways(network, graph, Relays::kNone);
  if (best) add("direct", *best);
  std::optional<BlockWays> relayed = shortest_ways(network, graph, Relays::kAllowed);
  if (relayed && has_relays(*relayed, network)) {
    add("relayed", *relayed);
    if (!best || busiest_time(network, *relayed) < busiest_time(network, *best))
      best = std::move(relayed);
  }
  if (best) add_spread(network, *best, bound, budget, &plans);
  return plans;
}

}  // namespace tutti::planner
