// SPDX-License-Identifier: Apache-2.0
// Plans, simulates and certifies.
#include "perf/explain/on_topology.h"

#include <algorithm>
#include <utility>

#include <spdlog/fmt/fmt.h>

#include "perf/explain/fastest.h"
#include "perf/explain/plan_cache.h"
#include "src/base/clock.h"
#include "src/base/error.h"
#include "src/planner/hierarchy/hierarchy.h"

namespace tutti::command {
namespace {

// More are planned level by level.
constexpr int32_t kMostFlatRanks = 128;
constexpr int32_t kMostWrittenRanks = 1024;

double ms_since(int64_t began_ns) {
  return static_cast<double>(now_ns() - began_ns) / static_cast<double>(kNsPerMs);
}

int64_t most_lanes(const plan::Plan& plan) {
  size_t most = 0;
  for (const plan::RankProgram& rank : plan.ranks) most = std::max(most, rank.lanes.size());
  return static_cast<int64_t>(most);
}

void simulate_row(const TopologyExplanation& explanation, TopologyRow* row) {
  Fastest fastest = simulate_fastest(row->placed, explanation.report.graph,
                                     explanation.request.bytes, explanation.request.simulation);
  row->time_ns = fastest.simulated.time_ns;
  row->bottlenecks = std::move(fastest.simulated.bottlenecks);
  row->slot_bytes = fastest.slot_bytes;
}

double units_bytes(const TopologyExplanation& explanation) {
  const auto bytes = static_cast<double>(explanation.request.bytes);
  const double n = explanation.network.n_terminals;
  switch (explanation.request.collective) {
    case plan::Collective::kAllReduce:
      return bytes / n;
    case plan::Collective::kAllToAll:
      return bytes * n;
    default:
      return bytes;
  }
}

// What algbw counts: the data of all ranks, but of an AllToAll what one rank sends, as the
// bandwidth binaries do.
double counted_units(const TopologyExplanation& explanation) {
  return explanation.request.collective == plan::Collective::kAllToAll
             ? 1
             : explanation.network.n_terminals;
}

verify::Certificate certificate(const TopologyExplanation& explanation) {
  const planner::PlacedPlan& winner = explanation.rows.front().placed;
  verify::Certificate made{.graph = explanation.report.graph,
                           .plan = winner.plan,
                           .placement = winner.placement,
                           .parts = {},
                           .lengths = explanation.bound.lengths};
  if (made.lengths.empty()) made.parts = explanation.bound.parts;
  return made;
}

verify::HierarchyCertificate hierarchy_certificate(const TopologyExplanation& explanation) {
  return {.collective = explanation.request.collective,
          .graph = explanation.report.graph,
          .hierarchy = *explanation.hierarchy,
          .parts = explanation.bound.parts};
}

[[noreturn]] void refuse_certificate(const TopologyRow& row, const std::string& reason) {
  throw Error(StatusCode::kInternalError,
              "the certificate of " + row.algorithm + " is refused: " + reason + "; report this");
}

double certified_share(const TopologyExplanation& explanation) {
  const verify::CertificateVerdict verdict = verify::check_certificate(certificate(explanation));
  if (!verdict.accepted) refuse_certificate(explanation.rows.front(), verdict.reason);
  return verdict.plan_over_bound;
}

TopologyRow row_of(planner::Candidate candidate) {
  TopologyRow row{.algorithm = candidate.algorithm,
                  .link_time = candidate.time,
                  .channels = candidate.placed.plan.channels,
                  .lanes = most_lanes(candidate.placed.plan),
                  .chunks_per_block = candidate.placed.plan.shape.chunks_per_block};
  row.placed = std::move(candidate.placed);
  return row;
}

// Of one way: to its far end and, for each way of a tree, one after the other.
double latency_ns(const TopologyExplanation& explanation, const verify::Level& level) {
  std::vector<double> by_edge;
  for (const auto& hops : level.hops.front()) {
    double sum = 0;
    for (const verify::Hop& hop : hops) {
      const topology::Link& link = explanation.report.graph.links[hop.link];
      sum += link.latency_ns != topology::kUnknown
                 ? static_cast<double>(link.latency_ns)
                 : explanation.request.simulation.hop_ns[static_cast<size_t>(link.type)];
    }
    by_edge.push_back(sum);
  }
  double longest = 0;
  for (const verify::LevelTree& tree : level.trees) {
    std::vector<double> reached(static_cast<size_t>(level.members()), 0);
    for (const int32_t edge : tree.edges) {
      const auto [from, to] = level.edges[edge];
      reached[to] = reached[from] + by_edge[edge];
      longest = std::max(longest, reached[to]);
    }
  }
  return longest;
}

void add_hierarchy(TopologyExplanation* explanation) {
  const topology::Graph& graph = explanation->report.graph;
  explanation->hierarchy = planner::hierarchy_for(graph, explanation->network);
  if (!explanation->hierarchy)
    throw Error(StatusCode::kInvalidArgument,
                fmt::format("topology: {} GPUs are planned level by level, which takes equal "
                            "machines whose GPUs in equal places have ways to each other",
                            explanation->network.n_terminals));
  const verify::HierarchyVerdict verdict =
      verify::check_hierarchy(hierarchy_certificate(*explanation));
  TopologyRow row{.algorithm = "hierarchy"};
  if (!verdict.accepted) refuse_certificate(row, verdict.reason);
  row.link_time = Rational::of(verdict.plan.numerator * explanation->network.unit_mbit_s,
                               verdict.plan.denominator);
  explanation->plan_over_bound = verdict.plan_over_bound;
  row.bottlenecks = verdict.busiest;
  row.chunks_per_block = verify::chunks_per_rank(*explanation->hierarchy);
  const int phases = explanation->request.collective == plan::Collective::kAllReduce ? 2 : 1;
  for (const verify::Level& level : explanation->hierarchy->levels)
    row.time_ns += phases * latency_ns(*explanation, level);
  row.time_ns +=
      units_bytes(*explanation) * in_given_capacities(*explanation, row.link_time).value();
  explanation->rows.push_back(std::move(row));
}

void add_candidates(TopologyExplanation* explanation,
                    const std::function<void(const std::string&)>& step) {
  const TopologyRequest& request = explanation->request;
  const topology::Graph& graph = explanation->report.graph;
  const PlanKey key{topology::hash(graph), request.collective, request.budget};
  const int64_t began = now_ns();
  auto kept = request.use_cache ? find_plans(key, graph, explanation->network) : std::nullopt;
  std::vector<planner::Candidate> candidates =
      kept ? std::move(*kept)
           : planner::all_candidates(graph, explanation->network, request.collective,
                                     request.budget, &explanation->bound);
  explanation->plan_ms += ms_since(began);
  if (request.use_cache && !kept) keep_plans(key, candidates, graph);
  for (planner::Candidate& candidate : candidates) {
    step("simulating " + candidate.algorithm);
    TopologyRow row = row_of(std::move(candidate));
    simulate_row(*explanation, &row);
    explanation->rows.push_back(std::move(row));
  }
  std::ranges::stable_sort(explanation->rows, {}, &TopologyRow::time_ns);
}

}  // namespace

TopologyExplanation explain_on(const topology::Report& topology, const TopologyRequest& request,
                               const std::function<void(const std::string&)>& step) {
  TopologyExplanation explanation{.request = request};
  planner::View view = planner::view_of(topology.graph, request.view);
  explanation.report = {std::move(view.graph), topology.notes};
  for (std::string& note : view.notes) explanation.report.notes.push_back({"planner", note});
  const topology::Graph& graph = explanation.report.graph;

  step("bound");
  const int64_t began = now_ns();
  explanation.network = planner::flow_network(graph);
  explanation.bound = planner::topology_bound(graph, explanation.network, request.collective);
  const bool is_large = explanation.network.n_terminals > kMostFlatRanks &&
                        request.collective != plan::Collective::kAllToAll;
  step("candidates");
  if (is_large) add_hierarchy(&explanation);
  explanation.plan_ms = ms_since(began);
  const int64_t planned = now_ns();
  if (!is_large) add_candidates(&explanation, step);
  explanation.simulation_ms = is_large ? 0 : ms_since(planned);
  step("certificate");
  if (!is_large) explanation.plan_over_bound = certified_share(explanation);
  return explanation;
}

std::string certificate_of(const TopologyExplanation& explanation) {
  return explanation.hierarchy ? verify::to_json(hierarchy_certificate(explanation))
                               : verify::to_json(certificate(explanation));
}

plan::Plan plan_of(const TopologyExplanation& explanation) {
  if (!explanation.hierarchy) return explanation.rows.front().placed.plan;
  const int32_t n = explanation.network.n_terminals;
  if (n > kMostWrittenRanks)
    throw Error(StatusCode::kInvalidArgument,
                fmt::format("--plan: a plan of {} ranks has more than {} steps; up to {} ranks are "
                            "written out, the certificate holds larger ones level by level",
                            n, int64_t{n} * n, kMostWrittenRanks));
  const planner::Forest forest = planner::forest_of(*explanation.hierarchy, explanation.network);
  return planner::forest_plan("hierarchy", explanation.request.collective,
                              {.gather = &forest, .scatter = &forest}, explanation.network,
                              explanation.request.budget)
      .plan;
}

Rational in_given_capacities(const TopologyExplanation& explanation, const Rational& time) {
  return Rational::of(time.numerator * topology::kMbitPerGigabyte,
                      time.denominator * explanation.network.unit_mbit_s);
}

double algbw(const TopologyExplanation& explanation, const Rational& time) {
  return counted_units(explanation) / in_given_capacities(explanation, time).value();
}

double algbw(const TopologyExplanation& explanation, double time_ns) {
  return units_bytes(explanation) * counted_units(explanation) / time_ns;
}

double busbw_factor(const TopologyExplanation& explanation) {
  const double n = explanation.network.n_terminals;
  const double one_way = (n - 1) / n;
  return explanation.request.collective == plan::Collective::kAllReduce ? 2 * one_way : one_way;
}

}  // namespace tutti::command
