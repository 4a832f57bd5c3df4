// SPDX-License-Identifier: Apache-2.0
// Finds out which levels have switches that serve them.
#include "src/planner/forest/switch_plan.h"

#include <algorithm>
#include <numeric>
#include <optional>
#include <utility>

#include "src/planner/forest/switch_writer.h"
#include "src/planner/hierarchy/machines.h"
#include "src/verify/routes.h"
#include "src/verify/switch_tree.h"

namespace tutti::planner {
namespace {

using plan::Collective;

constexpr int32_t kMostTerminals = 128;

// Whether the network has switches for the collective, within machines and between them.
struct Served {
  bool boxes = false;
  bool rails = false;
};

Served served(Collective collective, const FlowNetwork& network, const topology::Graph& graph) {
  using Kind = plan::SwitchChannel::Kind;
  Served found;
  for (const int32_t number : network.graph_node) {
    const topology::Node& node = graph.nodes[number];
    const bool able =
        (collective == Collective::kAllGather || verify::serves(node, Kind::kReduce)) &&
        (collective == Collective::kReduceScatter || verify::serves(node, Kind::kMulticast));
    if (able) (node.kind == topology::NodeKind::kNetSwitch ? found.rails : found.boxes) = true;
  }
  return found;
}

// Boxes with their ranks ascending, so that contributions are in the order of ranks.
SwitchLevels levels_of(const Cluster& cluster) {
  SwitchLevels levels;
  for (const auto& leaf : cluster.leaves)
    for (const auto& machine : leaf) levels.boxes.push_back(machine);
  std::ranges::sort(levels.boxes);
  return levels;
}

SwitchLevels one_level(int32_t n) {
  SwitchLevels levels;
  levels.boxes.emplace_back(static_cast<size_t>(n));
  std::iota(levels.boxes.front().begin(), levels.boxes.front().end(), 0);
  return levels;
}

class Planner {
 public:
  Planner(Collective collective, const FlowNetwork& network, const topology::Graph& graph,
          const PlanBudget& budget)
      : collective_(collective), network_(network), graph_(graph), budget_(budget) {}

  // Nothing when switches or ways are missing.
  std::optional<PlacedPlan> plan(const char* algorithm, const SwitchLevels& levels) const {
    PlacedPlan placed{switch_plan(algorithm, collective_, levels, budget_), {}};
    placed.placement = verify::place_by_shortest_paths(
        placed.plan, graph_,
        {network_.graph_node.begin(), network_.graph_node.begin() + network_.n_terminals});
    if (passes_through_a_terminal(placed.placement, graph_)) return std::nullopt;
    for (const verify::SwitchTree& tree :
         verify::switch_trees(placed.plan, placed.placement, graph_))
      if (tree.crosses_a_link_twice() || !passes_a_server(placed.placement, tree))
        return std::nullopt;
    return placed;
  }

 private:
  // Its loop is empty where no way passes a switch that serves it.
  static bool passes_a_server(const verify::Placement& placement, const verify::SwitchTree& tree) {
    return !placement.routes[tree.loop].hops.empty();
  }

  const Collective collective_;
  const FlowNetwork& network_;
  const topology::Graph& graph_;
  const PlanBudget budget_;
};

}  // namespace

std::vector<PlacedPlan> switch_plans(Collective collective, const FlowNetwork& network,
                                     const topology::Graph& graph, const PlanBudget& budget) {
  const Served able = served(collective, network, graph);
  std::vector<PlacedPlan> plans;
  if (network.n_terminals > kMostTerminals || (!able.boxes && !able.rails)) return plans;
  const Planner planner(collective, network, graph, budget);
  const auto add = [&](const char* algorithm, const SwitchLevels& levels) {
    std::optional<PlacedPlan> made = planner.plan(algorithm, levels);
    if (!made) return false;
    plans.push_back(std::move(*made));
    return true;
  };
  add("switch", one_level(network.n_terminals));
  const std::optional<Cluster> cluster = cluster_of(graph, network);
  if (!cluster || cluster->n_places() < 2) return plans;
  SwitchLevels levels = levels_of(*cluster);
  if (able.boxes) add("switch_rails", levels);
  levels.rails_by_switch = true;
  if (able.rails && (!able.boxes || !add("switch_fabric", levels))) {
    levels.box_by_switch = false;
    add("switch_fabric", levels);
  }
  return plans;
}

}  // namespace tutti::planner
