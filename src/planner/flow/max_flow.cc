// SPDX-License-Identifier: Apache-2.0
// The only file that includes LEMON.
#include "src/planner/flow/max_flow.h"

#include <optional>

#include <lemon/preflow.h>
#include <lemon/smart_graph.h>

namespace tutti::planner {
namespace {

using Digraph = lemon::SmartDigraph;
using Capacities = Digraph::ArcMap<int64_t>;
using Preflow = lemon::Preflow<Digraph, Capacities>;

}  // namespace

struct MaxFlow::State {
  Digraph graph;
  Capacities capacities{graph};
  std::optional<Preflow> preflow;  // of the last run; its maps follow the graph when it grows
};

MaxFlow::MaxFlow(int32_t n_nodes) : state_(std::make_unique<State>()) {
  state_->graph.reserveNode(n_nodes);
  for (int32_t node = 0; node < n_nodes; ++node) state_->graph.addNode();
}
MaxFlow::~MaxFlow() = default;
MaxFlow::MaxFlow(MaxFlow&&) noexcept = default;
MaxFlow& MaxFlow::operator=(MaxFlow&&) noexcept = default;

int32_t MaxFlow::add_arc(int32_t from, int32_t to, int64_t capacity) {
  state_->preflow.reset();
  const Digraph::Arc arc = state_->graph.addArc(Digraph::nodeFromId(from), Digraph::nodeFromId(to));
  state_->capacities[arc] = capacity;
  return Digraph::id(arc);
}

void MaxFlow::set_capacity(int32_t arc, int64_t capacity) {
  state_->capacities[Digraph::arcFromId(arc)] = capacity;
}

int64_t MaxFlow::run(int32_t source, int32_t sink) {
  State& state = *state_;
  if (!state.preflow)
    state.preflow.emplace(state.graph, state.capacities, Digraph::nodeFromId(source),
                          Digraph::nodeFromId(sink));
  state.preflow->source(Digraph::nodeFromId(source)).target(Digraph::nodeFromId(sink));
  // The first of its two phases finds the value and a cut; flows on arcs are not asked for.
  state.preflow->runMinCut();
  return state.preflow->flowValue();
}

std::vector<bool> MaxFlow::source_side() const {
  const State& state = *state_;
  std::vector<bool> inside(static_cast<size_t>(state.graph.nodeNum()));
  for (size_t node = 0; node < inside.size(); ++node)
    inside[node] = state.preflow->minCut(Digraph::nodeFromId(static_cast<int>(node)));
  return inside;
}

}  // namespace tutti::planner
