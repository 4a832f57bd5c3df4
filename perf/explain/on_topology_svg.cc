// SPDX-License-Identifier: Apache-2.0
// Draws a plan on its topology: how busy each link is, what bounds it, and one of its trees.
#include <algorithm>
#include <map>
#include <set>
#include <utility>

#include <spdlog/fmt/fmt.h>

#include "perf/explain/on_topology.h"
#include "src/verify/switch_tree.h"
#include "topology/formats/svg.h"

namespace tutti::command {
namespace {

std::vector<verify::LinkLoad> loads_of(const TopologyExplanation& e) {
  const topology::Graph& graph = e.report.graph;
  if (!e.hierarchy) {
    const planner::PlacedPlan& placed = e.rows.front().placed;
    return verify::link_loads(placed.plan, placed.placement, graph);
  }
  auto loads = verify::link_loads(*e.hierarchy, graph, verify::chunks_per_rank(*e.hierarchy));
  for (verify::LinkLoad& load : loads) {
    const verify::LinkLoad back{load.reverse_chunks, load.forward_chunks};
    if (e.request.collective == plan::Collective::kReduceScatter) load = back;
    if (e.request.collective == plan::Collective::kAllReduce) {
      load.forward_chunks += back.forward_chunks;
      load.reverse_chunks += back.reverse_chunks;
    }
  }
  return loads;
}

// Against the busiest way, which is full.
std::vector<topology::LinkPaint> paints_of(const TopologyExplanation& e) {
  const topology::Graph& graph = e.report.graph;
  const std::vector<verify::LinkLoad> loads = loads_of(e);
  std::vector<topology::LinkPaint> paints(loads.size());
  const auto busy = [](int64_t chunks, int64_t mbit_s) {
    return chunks == 0 ? 0.0 : static_cast<double>(chunks) / static_cast<double>(mbit_s);
  };
  double most = 0;
  for (size_t i = 0; i < loads.size(); ++i) {
    paints[i].forward_load = busy(loads[i].forward_chunks, graph.links[i].forward_mbit_s);
    paints[i].reverse_load = busy(loads[i].reverse_chunks, graph.links[i].reverse_mbit_s);
    most = std::max({most, paints[i].forward_load, paints[i].reverse_load});
  }
  constexpr double kNearlyFull = 0.999;
  for (topology::LinkPaint& paint : paints) {
    if (most == 0) continue;
    paint.forward_load /= most;
    paint.reverse_load /= most;
    paint.bottleneck = std::max(paint.forward_load, paint.reverse_load) >= kNearlyFull;
  }
  return paints;
}

// The ways of the first chunk: from rank to rank, and where switches serve it link by link.
class Arrows {
 public:
  Arrows(const planner::PlacedPlan& placed, const topology::Graph& graph)
      : placed_(placed), graph_(graph) {
    for (verify::SwitchTree& tree : verify::switch_trees(placed.plan, placed.placement, graph))
      trees_.emplace(tree.entry, std::move(tree));
  }

  std::vector<topology::OverlayArrow> draw() {
    for (size_t rank = 0; rank < placed_.plan.ranks.size(); ++rank)
      for (const plan::Lane& lane : placed_.plan.ranks[rank].lanes)
        for (const plan::Step& step : lane.steps)
          if (step.extent == 0) draw_sinks(static_cast<int32_t>(rank), step);
    return std::move(arrows_);
  }

 private:
  using Kind = plan::SwitchChannel::Kind;

  void draw_sinks(int32_t rank, const plan::Step& step) {
    for (const plan::Operand& sink : step.sinks) {
      if (sink.kind != plan::Operand::Kind::kPeer) continue;
      auto tree = trees_.find({rank, sink.channel, Kind::kMulticast});
      if (tree == trees_.end()) tree = trees_.find({sink.index, sink.channel, Kind::kReduce});
      if (tree == trees_.end())
        add(placed_.placement.node_of_rank[rank], placed_.placement.node_of_rank[sink.index]);
      else
        for (const verify::Hop& hop : tree->second.hops) add(hop);
    }
  }

  void add(const verify::Hop& hop) {
    const topology::Link& link = graph_.links[hop.link];
    hop.reverse ? add(link.to, link.from) : add(link.from, link.to);
  }
  void add(int32_t from, int32_t to) {
    if (drawn_.emplace(from, to).second) arrows_.push_back({from, to, 0});
  }

  const planner::PlacedPlan& placed_;
  const topology::Graph& graph_;
  std::map<plan::SwitchChannel, verify::SwitchTree> trees_;
  std::set<std::pair<int32_t, int32_t>> drawn_;
  std::vector<topology::OverlayArrow> arrows_;
};

}  // namespace

std::string as_svg(const TopologyExplanation& e) {
  topology::Overlay overlay{.links = paints_of(e), .cut_nodes = {}, .arrows = {}};
  if (!e.hierarchy) overlay.arrows = Arrows(e.rows.front().placed, e.report.graph).draw();
  if (!e.bound.parts.empty()) {
    overlay.cut_nodes.assign(e.report.graph.nodes.size(), false);
    for (const int32_t node : e.bound.parts.front()) overlay.cut_nodes[node] = true;
  }
  overlay.caption = fmt::format("{} by {}: {:.2f} GB/s, {:.1f} % of the bound",
                                plan::name(e.request.collective), e.rows.front().algorithm,
                                algbw(e, e.rows.front().time_ns), 100 * e.plan_over_bound);
  return topology::svg(e.report, overlay);
}

}  // namespace tutti::command
