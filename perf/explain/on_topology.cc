// SPDX-License-Identifier: Apache-2.0
// Plans, simulates and certifies.
#include "perf/explain/on_topology.h"

#include <algorithm>
#include <utility>

#include "src/base/clock.h"
#include "src/base/error.h"

namespace tutti::command {
namespace {

// Of a chunk's bytes: whole, or in so many tiles that follow each other.
constexpr uint64_t kTiles[] = {1, 4, 16};
constexpr uint64_t kLeastSlotBytes = 4 << 10;
// Larger jobs are simulated with one size of slot.
constexpr int64_t kFewMessages = 20'000;

double ms_since(int64_t began_ns) {
  return static_cast<double>(now_ns() - began_ns) / static_cast<double>(kNsPerMs);
}

int64_t most_lanes(const plan::Plan& plan) {
  size_t most = 0;
  for (const plan::RankProgram& rank : plan.ranks) most = std::max(most, rank.lanes.size());
  return static_cast<int64_t>(most);
}

void simulate_row(const TopologyExplanation& explanation, TopologyRow* row) {
  const plan::Plan& plan = row->plan.placed.plan;
  verify::SimulationParameters parameters = explanation.request.simulation;
  const uint64_t chunk =
      explanation.request.bytes / static_cast<uint64_t>(std::max(plan.shape.chunks_per_block, 1));
  const bool few = plan::size_of(plan).messages <= kFewMessages;
  for (const uint64_t tiles : kTiles) {
    if (!few && tiles != kTiles[1]) continue;
    parameters.slot_bytes = std::max(kLeastSlotBytes, (chunk + tiles - 1) / tiles);
    verify::SimulationResult result =
        verify::simulate(plan, row->plan.placed.placement, explanation.report.graph,
                         explanation.request.bytes, parameters);
    if (row->slot_bytes == 0 || result.time_ns < row->simulated.time_ns) {
      row->simulated = std::move(result);
      row->slot_bytes = parameters.slot_bytes;
    }
    if (parameters.slot_bytes == kLeastSlotBytes) break;
  }
}

void certify(TopologyExplanation* explanation) {
  const planner::PlacedPlan& winner = explanation->rows.front().plan.placed;
  explanation->certificate = {.graph = explanation->report.graph,
                              .plan = winner.plan,
                              .placement = winner.placement,
                              .parts = explanation->bound.parts};
  explanation->verdict = verify::check_certificate(explanation->certificate);
  if (!explanation->verdict.accepted)
    throw Error(StatusCode::kInternalError, "the certificate of " + winner.plan.algorithm +
                                                " is refused: " + explanation->verdict.reason +
                                                "; report this");
}

double units_bytes(const TopologyExplanation& explanation) {
  const auto bytes = static_cast<double>(explanation.request.bytes);
  return explanation.request.collective == plan::Collective::kAllReduce
             ? bytes / explanation.network.n_terminals
             : bytes;
}

}  // namespace

TopologyExplanation explain_on(const topology::Report& topology, const TopologyRequest& request,
                               const std::function<void(const std::string&)>& step) {
  TopologyExplanation explanation{.request = request};
  planner::View view = planner::view_of(topology.graph, request.view);
  explanation.report = {std::move(view.graph), topology.notes};
  for (std::string& note : view.notes) explanation.report.notes.push_back({"planner", note});
  const topology::Graph& graph = explanation.report.graph;

  step("bound and candidates");
  const int64_t began = now_ns();
  explanation.network = planner::flow_network(graph);
  explanation.bound = planner::topology_bound(graph, explanation.network, request.collective);
  std::vector<planner::Candidate> candidates =
      planner::all_candidates(graph, explanation.network, request.collective, request.budget);
  explanation.plan_ms = ms_since(began);

  const int64_t planned = now_ns();
  for (planner::Candidate& candidate : candidates) {
    step("simulating " + candidate.algorithm);
    TopologyRow row{.plan = std::move(candidate)};
    row.lanes = most_lanes(row.plan.placed.plan);
    simulate_row(explanation, &row);
    explanation.rows.push_back(std::move(row));
  }
  std::ranges::stable_sort(explanation.rows, {},
                           [](const TopologyRow& row) { return row.simulated.time_ns; });
  explanation.simulation_ms = ms_since(planned);
  step("certificate");
  certify(&explanation);
  return explanation;
}

Rational in_given_capacities(const TopologyExplanation& explanation, const Rational& time) {
  return Rational::of(time.numerator * topology::kMbitPerGigabyte,
                      time.denominator * explanation.network.unit_mbit_s);
}

double algbw(const TopologyExplanation& explanation, const Rational& time) {
  return explanation.network.n_terminals / in_given_capacities(explanation, time).value();
}

double algbw(const TopologyExplanation& explanation, double time_ns) {
  return units_bytes(explanation) * explanation.network.n_terminals / time_ns;
}

double busbw_factor(const TopologyExplanation& explanation) {
  const double n = explanation.network.n_terminals;
  const double one_way = (n - 1) / n;
  return explanation.request.collective == plan::Collective::kAllReduce ? 2 * one_way : one_way;
}

}  // namespace tutti::command
