// How long planning takes on one core, against what it may take: `planning_time --judge` fails when
// something takes longer.
#include <cstdio>
#include <cstring>
#include <functional>
#include <random>
#include <string>
#include <vector>

#include <spdlog/fmt/fmt.h>
#include <sys/resource.h>

#include "src/base/clock.h"
#include "src/planner/forest/switch_plan.h"
#include "src/planner/forest/topology_plan.h"
#include "src/planner/hierarchy/hierarchy.h"
#include "src/verify/verifier.h"
#include "topology/synthetic.h"

namespace tutti::planner {
namespace {

using plan::Collective;
using topology::Graph;
using topology::LinkType;
using topology::NodeKind;

constexpr int kGpusPerMachine = 8;

// NVLinks of one machine, each GPU joined to the one before and to some others.
void add_machine(Graph* graph, int number, std::mt19937* random) {
  const int64_t nvlink = 25 * topology::kMbitPerGigabyte;
  const int32_t machine = add_node(*graph, fmt::format("m{}", number), NodeKind::kMachine, 0);
  std::vector<int32_t> gpus;
  for (int g = 0; g < kGpusPerMachine; ++g)
    gpus.push_back(add_node(*graph, fmt::format("m{}/gpu{}", number, g), NodeKind::kGpu, machine));
  for (int a = 0; a < kGpusPerMachine; ++a)
    for (int b = 0; b < a; ++b)
      if (b == a - 1 || (*random)() % 2 == 0)
        add_link(*graph, gpus[a], gpus[b], LinkType::kNvLink,
                 nvlink * static_cast<int64_t>(1 + (*random)() % 3));
}

// GPUs in pairs on NICs of several speeds, all NICs on one switch.
void add_nics(Graph* graph, std::mt19937* random) {
  const int32_t fabric = add_node(*graph, "fabric", NodeKind::kNetSwitch, 0);
  const std::vector<int32_t> gpus = nodes_of_kind(*graph, NodeKind::kGpu);
  constexpr int64_t kSpeeds[] = {100'000, 200'000, 400'000};
  for (size_t i = 0; i < gpus.size(); i += 2) {
    const int64_t speed = kSpeeds[(*random)() % 3];
    const int32_t machine = graph->nodes[gpus[i]].parent;
    const int32_t nic = add_node(*graph, fmt::format("nic{}", i / 2), NodeKind::kNic, machine);
    for (const int32_t gpu : {gpus[i], gpus[i + 1]})
      add_link(*graph, gpu, nic, LinkType::kPcie, 252'000);
    add_link(*graph, nic, fabric, LinkType::kNetwork, speed);
  }
}

Graph irregular(int machines, uint32_t seed) {
  std::mt19937 random(seed);
  Graph graph;
  add_node(graph, "cluster", NodeKind::kCluster, -1);
  for (int m = 0; m < machines; ++m) add_machine(&graph, m, &random);
  add_nics(&graph, &random);
  return graph;
}

double seconds(const std::function<void()>& work) {
  const int64_t began = now_ns();
  work();
  return static_cast<double>(now_ns() - began) / kNsPerSecond;
}

struct Row {
  std::string what;
  double seconds = 0;
  double allowed = 0;
};

// Bound and a plan that is proved, for each of the three collectives.
Row plan_of_eight(const char* line) {
  const Graph graph = view_of(topology::synthetic(line), {}).graph;
  const FlowNetwork network = flow_network(graph);
  const double taken = seconds([&] {
    topology_bound(graph, network, Collective::kAllReduce);
    const Candidate candidate = forest_candidate(graph, network, Collective::kAllReduce, 0.999, {});
    if (!verify::verify(candidate.placed.plan).accepted) std::abort();
  });
  return {fmt::format("{}: bound and proved AllReduce", line), taken, 0.05};
}

// All plans by switches, of which one has to be there, each proved.
Row plans_by_switches(const char* line, double allowed) {
  const Graph graph = view_of(topology::synthetic(line), {}).graph;
  const FlowNetwork network = flow_network(graph);
  const double taken = seconds([&] {
    const auto plans = switch_plans(Collective::kAllReduce, network, graph, {});
    if (plans.empty()) std::abort();
    for (const PlacedPlan& placed : plans)
      if (!verify::verify(placed.plan).accepted) std::abort();
  });
  return {fmt::format("{}: proved AllReduce by switches", line), taken, allowed};
}

Row exact_forest(uint32_t seed) {
  const Graph graph = view_of(irregular(4, seed), {}).graph;
  const FlowNetwork network = flow_network(graph);
  std::string what;
  const double taken = seconds([&] {
    const Bound bound = all_gather_bound(network, graph);
    const Forest forest = forest_within(network, bound.inverse_rate, 1);
    if (forest.inverse_rate != bound.inverse_rate) std::abort();
    what = fmt::format("32 irregular GPUs, seed {}: exact forest, {} trees per GPU in {} kinds",
                       seed, forest.trees_per_terminal, forest.trees.size());
  });
  return {what, taken, 1};
}

std::vector<Row> large(const char* line, double bound_s, double plan_s) {
  const Graph graph = view_of(topology::synthetic(line), {}).graph;
  const FlowNetwork network = flow_network(graph);
  TopologyBound bound;
  const double bounding =
      seconds([&] { bound = topology_bound(graph, network, Collective::kAllGather); });
  const double planning = seconds([&] {
    const auto hierarchy = hierarchy_for(graph, network);
    if (!hierarchy) std::abort();
    const verify::HierarchyVerdict verdict =
        verify::check_hierarchy({Collective::kAllGather, graph, *hierarchy, bound.parts});
    if (!verdict.accepted) std::abort();
  });
  return {{fmt::format("{}: bound", line), bounding, bound_s},
          {fmt::format("{}: plan and its certificate", line), planning, plan_s}};
}

int run(bool judge) {
  std::vector<Row> rows;
  for (const char* line : {"dgx-1v", "dgx-h100", "mi300x"}) rows.push_back(plan_of_eight(line));
  rows.push_back(plans_by_switches("dgx-h100", 0.05));
  rows.push_back(plans_by_switches("dgx-h100 x4 sharp=1", 1));
  for (const uint32_t seed : {1, 2, 3, 4, 5}) rows.push_back(exact_forest(seed));
  for (const Row& row : large("dgx-h100 x128", 1, 5)) rows.push_back(row);
  for (const Row& row : large("dgx-h100 x2048", 60, 60)) rows.push_back(row);
  bool right = true;
  for (const Row& row : rows) {
    const bool in_time = row.seconds <= row.allowed;
    right = right && in_time;
    fmt::print("{:>9.3f} s of {:>5.2f}  {}{}\n", row.seconds, row.allowed, row.what,
               in_time ? "" : "  TOO LONG");
  }
  rusage usage{};
  getrusage(RUSAGE_SELF, &usage);
  constexpr int64_t kMostKilobytes = 4 << 20;
  const bool small = usage.ru_maxrss <= kMostKilobytes;
  fmt::print("{:>9.3f} GiB of 4.00  memory of all{}\n",
             static_cast<double>(usage.ru_maxrss) / (1 << 20), small ? "" : "  TOO MUCH");
  return right && small ? 0 : judge ? 1 : 0;
}

}  // namespace
}  // namespace tutti::planner

int main(int argc, char** argv) {
  const bool judge = argc == 2 && std::strcmp(argv[1], "--judge") == 0;
  if (argc > 1 && !judge) {
    std::fputs("usage: planning_time [--judge]\n", stderr);
    return 2;
  }
  return tutti::planner::run(judge);
}
