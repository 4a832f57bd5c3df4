// SPDX-License-Identifier: Apache-2.0
// Verifies, counts and simulates both plans.
#include "perf/explain/comparison.h"

#include <algorithm>
#include <utility>

#include <spdlog/fmt/fmt.h>

#include "perf/explain/fastest.h"

namespace tutti::command {
namespace {

using plan::Collective;

bool has_bound(Collective collective) {
  return collective == Collective::kAllReduce || collective == Collective::kAllGather ||
         collective == Collective::kReduceScatter;
}

std::vector<BusyWay> ways_of(const planner::PlacedPlan& placed, const topology::Graph& graph) {
  std::vector<BusyWay> ways;
  const auto loads = verify::link_loads(placed.plan, placed.placement, graph);
  const double chunks_per_block = std::max(placed.plan.shape.chunks_per_block, 1);
  for (size_t i = 0; i < loads.size(); ++i)
    for (const bool reverse : {false, true}) {
      const int64_t chunks = reverse ? loads[i].reverse_chunks : loads[i].forward_chunks;
      const topology::Link& link = graph.links[i];
      const int64_t mbit_s = reverse ? link.reverse_mbit_s : link.forward_mbit_s;
      if (chunks == 0) continue;
      const double bytes_per_ns =
          static_cast<double>(mbit_s) / static_cast<double>(topology::kMbitPerGigabyte);
      ways.push_back({{static_cast<int32_t>(i), reverse},
                      static_cast<double>(chunks) / chunks_per_block / bytes_per_ns});
    }
  return ways;
}

MeasuredPlan measure(const Comparison& comparison, Contender contender,
                     const std::function<void(const std::string&)>& step) {
  MeasuredPlan made;
  made.contender = std::move(contender);
  const planner::PlacedPlan& placed = made.contender.placed;
  const topology::Graph& graph = comparison.arena.report.graph;
  step("verifying " + made.contender.name);
  made.verdict = verify::verify(placed.plan);
  made.size = plan::size_of(placed.plan);
  for (const plan::RankProgram& rank : placed.plan.ranks)
    made.lanes = std::max(made.lanes, static_cast<int64_t>(rank.lanes.size()));
  if (!made.verdict.accepted) return made;
  made.ways = ways_of(placed, graph);
  for (const BusyWay& way : made.ways)
    made.ns_per_byte = std::max(made.ns_per_byte, way.ns_per_byte);
  for (const uint64_t bytes : comparison.bytes) {
    step(fmt::format("simulating {} of {} bytes", made.contender.name, bytes));
    made.time_ns.push_back(simulate_fastest(placed, graph, bytes, {}).simulated.time_ns);
  }
  return made;
}

void add_bound(Comparison* comparison) {
  const Arena& arena = comparison->arena;
  if (!has_bound(comparison->collective) || arena.network.n_terminals < 2) return;
  const planner::TopologyBound bound =
      planner::topology_bound(arena.report.graph, arena.network, comparison->collective);
  for (MeasuredPlan* side : {&comparison->a, &comparison->b}) {
    if (!side->verdict.accepted || side->ways.empty()) continue;
    const Rational time =
        planner::busiest_link_time(side->contender.placed, arena.report.graph, arena.network);
    side->plan_over_bound = bound.time.value() / time.value();
  }
}

// Blocks of what nccl-tests counts as the size of a call.
double blocks_per_size(const Comparison& comparison) {
  switch (comparison.collective) {
    case Collective::kAllReduce:
    case Collective::kReduce:
    case Collective::kBroadcast:
      return 1;
    default:
      return comparison.arena.network.n_terminals;
  }
}

}  // namespace

Comparison compare(Arena arena, std::vector<Contender> contenders, Collective collective,
                   std::vector<uint64_t> bytes,
                   const std::function<void(const std::string&)>& step) {
  Comparison comparison;
  comparison.arena = std::move(arena);
  comparison.collective = collective;
  comparison.bytes = std::move(bytes);
  comparison.a = measure(comparison, std::move(contenders[0]), step);
  comparison.b = measure(comparison, std::move(contenders[1]), step);
  step("bound");
  add_bound(&comparison);
  return comparison;
}

bool is_accepted(const Comparison& comparison) {
  return comparison.a.verdict.accepted && comparison.b.verdict.accepted;
}

double algbw(const Comparison& comparison, uint64_t block_bytes, double time_ns) {
  return static_cast<double>(block_bytes) * blocks_per_size(comparison) / time_ns;
}

double busbw_factor(const Comparison& comparison) {
  const double n = comparison.arena.network.n_terminals;
  switch (comparison.collective) {
    case Collective::kAllReduce:
      return 2 * (n - 1) / n;
    case Collective::kReduce:
    case Collective::kBroadcast:
      return 1;
    default:
      return (n - 1) / n;
  }
}

}  // namespace tutti::command
