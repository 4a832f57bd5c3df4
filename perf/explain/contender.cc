// SPDX-License-Identifier: Apache-2.0
// Reads plans of any form, or takes them from the planner, and puts their ranks on the GPUs.
#include "perf/explain/contender.h"

#include <algorithm>
#include <filesystem>
#include <utility>

#include <spdlog/fmt/fmt.h>

#include "perf/topology_source.h"
#include "src/base/error.h"
#include "src/plan/msccl_xml.h"
#include "src/planner/import/nccl_graph.h"
#include "src/planner/planner.h"
#include "src/verify/certificate.h"
#include "src/verify/routes.h"

namespace tutti::command {
namespace {

constexpr const char* kGraphPlans[] = {"ring", "tree"};

bool is_file(const std::string& name) {
  std::error_code none;
  return name == "-" || std::filesystem::is_regular_file(name, none);
}

bool is_certificate(std::string_view text) {
  const size_t first = text.find_first_not_of(" \t\r\n");
  return first != std::string_view::npos && text[first] == '{' &&
         text.find("\"tutti-certificate-") != std::string_view::npos;
}

[[noreturn]] void refuse(const Source& source, const std::string& what) {
  throw Error(StatusCode::kInvalidArgument, fmt::format("{}: {}", source.given, what));
}

void split_graph_suffix(Source* source) {
  if (is_file(source->given)) {
    source->file = source->given;
    return;
  }
  for (const char* plan : kGraphPlans) {
    const std::string suffix = std::string(":") + plan;
    if (!source->given.ends_with(suffix)) continue;
    std::string file = source->given.substr(0, source->given.size() - suffix.size());
    if (!is_file(file)) continue;
    source->file = std::move(file);
    source->algorithm = plan;
    return;
  }
  source->algorithm = source->given;
}

std::vector<int32_t> rank_nodes(const Arena& arena) {
  const auto begin = arena.network.graph_node.begin();
  return {begin, begin + arena.network.n_terminals};
}

void check_ranks(const Arena& arena, const Source& source, const plan::Plan& plan) {
  if (plan.shape.n_ranks == arena.network.n_terminals) return;
  refuse(source, fmt::format("expected a plan of {} ranks, as many as the topology has GPUs, got "
                             "one of {}; --gpus chooses among the GPUs",
                             arena.network.n_terminals, plan.shape.n_ranks));
}

Contender from_plan(const Arena& arena, Source source) {
  Contender made{
      .given = source.given, .name = {}, .placed = std::move(source.placed), .notes = {}};
  check_ranks(arena, source, made.placed.plan);
  if (source.placed_on == arena.report.graph) return made;
  if (source.placed_on)
    made.notes.push_back(
        "its certificate is for another topology; here its plan takes the shortest ways");
  made.placed.placement =
      verify::place_by_shortest_paths(made.placed.plan, arena.report.graph, rank_nodes(arena));
  return made;
}

Contender from_graph(const Arena& arena, const Source& source, plan::Collective collective) {
  planner::NcclGraphPlans read = planner::plans_from_nccl_graph(
      source.text, source.file == "-" ? "standard input" : source.file, arena.report.graph,
      collective);
  Contender made{.given = source.given, .name = {}, .placed = {}, .notes = {}};
  const std::string wanted = "nccl_" + source.algorithm;
  auto chosen = read.plans.begin();
  if (!source.algorithm.empty())
    chosen = std::ranges::find(read.plans, wanted,
                               [](const planner::PlacedPlan& p) { return p.plan.algorithm; });
  if (chosen == read.plans.end())
    refuse(source, fmt::format("it has no {} for {}", source.algorithm, plan::name(collective)));
  if (source.algorithm.empty() && read.plans.size() > 1)
    made.notes.push_back(fmt::format("these are its rings; {}:tree names its trees", source.file));
  for (const topology::Note& note : read.notes) made.notes.push_back(note.text);
  made.placed = std::move(*chosen);
  check_ranks(arena, source, made.placed.plan);
  return made;
}

bool is_planned_for(plan::Collective collective) {
  return collective == plan::Collective::kAllReduce || collective == plan::Collective::kAllGather ||
         collective == plan::Collective::kReduceScatter;
}

// Candidates, and rows of the algorithm table, by name.
class Planned {
 public:
  Planned(const Arena& arena, plan::Collective collective)
      : arena_(arena), request_{.collective = collective, .n_ranks = arena.network.n_terminals} {}

  Contender make(const Source& source) {
    if (candidates_.empty() && is_planned_for(request_.collective))
      candidates_ =
          planner::all_candidates(arena_.report.graph, arena_.network, request_.collective, {});
    Contender made{.given = source.given, .name = {}, .placed = {}, .notes = {}};
    const auto found =
        std::ranges::find(candidates_, source.algorithm, &planner::Candidate::algorithm);
    if (found != candidates_.end()) {
      made.placed = found->placed;
      return made;
    }
    const planner::AlgorithmRow* row =
        planner::find_algorithm(request_.collective, source.algorithm);
    if (row == nullptr || !row->supports(request_))
      refuse(source, fmt::format("expected a file or one of the algorithms here, {}",
                                 fmt::join(names(), ", ")));
    made.placed.plan = row->build(request_);
    made.placed.placement =
        verify::place_by_shortest_paths(made.placed.plan, arena_.report.graph, rank_nodes(arena_));
    return made;
  }

 private:
  std::vector<std::string> names() const {
    std::vector<std::string> all;
    for (const planner::Candidate& candidate : candidates_) all.push_back(candidate.algorithm);
    for (const planner::AlgorithmRow& row : planner::algorithm_table())
      if (row.collective == request_.collective && row.supports(request_) &&
          std::ranges::find(all, row.name) == all.end())
        all.emplace_back(row.name);
    return all;
  }

  const Arena& arena_;
  planner::PlanRequest request_;
  std::vector<planner::Candidate> candidates_;  // once asked for
};

// A copy engine or a NIC can't take data on to the next link from the middle of a GPU.
void note_passing_through(const Arena& arena, Contender* contender) {
  const topology::Graph& graph = arena.report.graph;
  for (const verify::Route& route : contender->placed.placement.routes)
    for (size_t i = 0; i + 1 < route.hops.size(); ++i) {
      const topology::Link& link = graph.links[route.hops[i].link];
      const topology::Node& node = graph.nodes[route.hops[i].reverse ? link.from : link.to];
      if (node.kind != topology::NodeKind::kGpu) continue;
      contender->notes.push_back(
          fmt::format("data from rank {} to rank {} passes through {}, as if its GPU forwarded it",
                      route.source_rank, route.sink_rank, node.id));
      return;
    }
}

}  // namespace

Arena arena_of(const topology::Report& topology) {
  planner::View view = planner::view_of(topology.graph, {});
  Arena arena{.report = {std::move(view.graph), topology.notes}, .network = {}};
  for (std::string& note : view.notes) arena.report.notes.push_back({"planner", std::move(note)});
  arena.network = planner::flow_network(arena.report.graph);
  return arena;
}

Source open_source(const std::string& given) {
  Source source{.given = given};
  split_graph_suffix(&source);
  if (source.file.empty()) return source;
  source.text = read_text(source.file);
  const std::string name = source.file == "-" ? "standard input" : source.file;
  source.is_graph = planner::is_nccl_graph(source.text);
  if (source.is_graph) return source;
  if (!source.algorithm.empty())
    refuse(source, "only NCCL's graph XML has rings and trees to choose from");
  if (is_certificate(source.text)) {
    verify::Certificate certificate = verify::certificate_from_json(source.text, name);
    source.placed = {std::move(certificate.plan), std::move(certificate.placement)};
    source.placed_on = std::move(certificate.graph);
  } else {
    source.placed.plan = plan::from_text(source.text, name);
    plan::check_well_formed(source.placed.plan);
  }
  source.collective = source.placed.plan.shape.collective;
  return source;
}

std::vector<Contender> contenders(const Arena& arena, std::vector<Source> sources,
                                  plan::Collective collective) {
  Planned planned(arena, collective);
  std::vector<Contender> made;
  for (Source& source : sources) {
    if (source.collective.value_or(collective) != collective)
      refuse(source, fmt::format("expected a plan for {}, got one for {}", plan::name(collective),
                                 plan::name(*source.collective)));
    if (source.is_graph) {
      made.push_back(from_graph(arena, source, collective));
    } else if (!source.file.empty()) {
      made.push_back(from_plan(arena, std::move(source)));
    } else {
      made.push_back(planned.make(source));
    }
    made.back().name = made.back().placed.plan.algorithm;
    note_passing_through(arena, &made.back());
  }
  return made;
}

}  // namespace tutti::command
