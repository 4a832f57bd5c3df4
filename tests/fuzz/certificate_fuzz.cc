// SPDX-License-Identifier: Apache-2.0
// Certificates of plans and of hierarchies, from the text to the verdict.
#include "src/planner/forest/switch_plan.h"
#include "src/planner/forest/topology_plan.h"
#include "src/planner/hierarchy/hierarchy.h"
#include "src/verify/certificate.h"
#include "src/verify/hierarchy.h"
#include "tests/fuzz/fuzz.h"
#include "topology/synthetic.h"

namespace tutti::fuzz {
namespace {

// What is accepted holds what it says, and comes back from its own text with the same verdict.
template <typename Certificate, typename Check, typename Read>
void judge(const Certificate& certificate, Check check, Read read) {
  const auto verdict = check(certificate);
  require(verdict.accepted == verdict.reason.empty(), "a refusal has a reason");
  if (!verdict.accepted) return;
  require(!(verdict.plan < verdict.bound), "no plan beats the bound");
  const auto again = check(read(verify::to_json(certificate), "its own text"));
  require(again.accepted && again.plan == verdict.plan && again.bound == verdict.bound,
          "the same verdict of its own text");
}

std::string plan_certificate(const char* line, plan::Collective collective) {
  const topology::Graph graph = planner::view_of(topology::synthetic(line), {}).graph;
  const planner::FlowNetwork network = planner::flow_network(graph);
  const planner::Candidate forest = planner::forest_candidate(graph, network, collective, 0.5, {});
  return verify::to_json(
      verify::Certificate{.graph = graph,
                          .plan = forest.placed.plan,
                          .placement = forest.placed.placement,
                          .parts = planner::topology_bound(graph, network, collective).parts});
}

std::string switch_certificate(const char* line, plan::Collective collective) {
  const topology::Graph graph = planner::view_of(topology::synthetic(line), {}).graph;
  const planner::FlowNetwork network = planner::flow_network(graph);
  const planner::PlacedPlan placed = planner::switch_plans(collective, network, graph, {}).front();
  return verify::to_json(
      verify::Certificate{.graph = graph,
                          .plan = placed.plan,
                          .placement = placed.placement,
                          .parts = planner::topology_bound(graph, network, collective).parts});
}

std::string all_to_all_certificate(const char* line) {
  const topology::Graph graph = planner::view_of(topology::synthetic(line), {}).graph;
  const planner::FlowNetwork network = planner::flow_network(graph);
  const planner::TopologyBound bound =
      planner::topology_bound(graph, network, plan::Collective::kAllToAll);
  const std::vector<planner::Candidate> candidates =
      planner::all_candidates(graph, network, plan::Collective::kAllToAll, {}, &bound);
  return verify::to_json(verify::Certificate{.graph = graph,
                                             .plan = candidates.front().placed.plan,
                                             .placement = candidates.front().placed.placement,
                                             .parts = {},
                                             .lengths = bound.lengths});
}

std::string hierarchy_certificate(const char* line, plan::Collective collective) {
  const topology::Graph graph = planner::view_of(topology::synthetic(line), {}).graph;
  const planner::FlowNetwork network = planner::flow_network(graph);
  return verify::to_json(verify::HierarchyCertificate{
      .collective = collective,
      .graph = graph,
      .hierarchy = *planner::hierarchy_for(graph, network),
      .parts = planner::topology_bound(graph, network, collective).parts});
}

}  // namespace

void run(std::string_view input) {
  if (verify::is_hierarchy_json(input)) {
    const auto certificate = accepted([&] { return verify::hierarchy_from_json(input, "fuzz"); });
    if (certificate) judge(*certificate, verify::check_hierarchy, verify::hierarchy_from_json);
    return;
  }
  const auto certificate = accepted([&] { return verify::certificate_from_json(input, "fuzz"); });
  if (certificate) judge(*certificate, verify::check_certificate, verify::certificate_from_json);
}

std::vector<std::string> seeds() {
  using enum plan::Collective;
  return {plan_certificate("pcie gpus=2", kAllGather),
          plan_certificate("pcie gpus=2", kAllReduce),
          plan_certificate("mi300x", kReduceScatter),
          switch_certificate("dgx-h100", kReduceScatter),
          all_to_all_certificate("pcie gpus=2"),
          hierarchy_certificate("dgx-a100 x2", kAllGather),
          hierarchy_certificate("dgx-h100 x2", kAllReduce)};
}

}  // namespace tutti::fuzz
