// SPDX-License-Identifier: Apache-2.0
// Local search among cuts.
#include "src/planner/alltoall/cuts.h"

#include <algorithm>
#include <map>
#include <random>

#include "src/planner/alltoall/bound.h"

namespace tutti::planner {
namespace {

using Side = std::vector<bool>;  // by node: inside

// A cut whose ratio is kept up to date while nodes move.
class Cut {
 public:
  explicit Cut(const FlowNetwork& network)
      : network_(network), arcs_(static_cast<size_t>(network.n_nodes())) {
    for (size_t i = 0; i < network.arcs.size(); ++i) {
      arcs_[network.arcs[i].from].push_back(static_cast<int32_t>(i));
      arcs_[network.arcs[i].to].push_back(static_cast<int32_t>(i));
    }
  }

  void start(Side inside) {
    inside_ = std::move(inside);
    terminals_ = 0;
    leaving_ = 0;
    for (int32_t t = 0; t < network_.n_terminals; ++t) terminals_ += inside_[t] ? 1 : 0;
    for (const FlowNetwork::Arc& arc : network_.arcs)
      if (inside_[arc.from] && !inside_[arc.to]) leaving_ += arc.capacity;
  }

  // Until no node that moves makes the ratio larger, or the effort is spent.
  void improve() {
    constexpr int kMostRounds = 20;
    bool moved = true;
    for (int round = 0; moved && round < kMostRounds; ++round) {
      moved = false;
      for (int32_t node = 0; node < network_.n_nodes(); ++node) moved |= move_if_better(node);
    }
  }

  Rational ratio() const { return ratio_of(terminals_, leaving_); }
  const Side& inside() const { return inside_; }

 private:
  Rational ratio_of(int64_t terminals, int64_t leaving) const {
    if (leaving == 0) return {};
    const int64_t pairs = terminals * (network_.n_terminals - terminals);
    return Rational::of_wide(pairs, Rational::Wide{leaving} * network_.n_terminals);
  }

  bool move_if_better(int32_t node) {
    int64_t terminals = terminals_;
    if (node < network_.n_terminals) terminals += inside_[node] ? -1 : 1;
    int64_t leaving = leaving_;
    for (const int32_t index : arcs_[node]) {
      const FlowNetwork::Arc& arc = network_.arcs[index];
      const bool other = inside_[arc.from == node ? arc.to : arc.from];
      // What it sends out, or what is sent out to it, does or does not leave any more.
      if (arc.from == node && !other) leaving += inside_[node] ? -arc.capacity : arc.capacity;
      if (arc.to == node && other) leaving += inside_[node] ? arc.capacity : -arc.capacity;
    }
    // Switches that change nothing stay.
    if (!(ratio_of(terminals, leaving) > ratio())) return false;
    inside_[node] = !inside_[node];
    terminals_ = terminals;
    leaving_ = leaving;
    return true;
  }

  const FlowNetwork& network_;
  std::vector<std::vector<int32_t>> arcs_;  // by node
  Side inside_;
  int64_t terminals_ = 0;
  int64_t leaving_ = 0;
};

// By node of the network, the machine that it is in; those outside of machines are by themselves.
std::vector<int32_t> machine_of(const FlowNetwork& network, const topology::Graph& graph) {
  std::vector<int32_t> machine;
  for (int32_t at : network.graph_node) {
    while (graph.nodes[at].kind != topology::NodeKind::kMachine && graph.nodes[at].parent >= 0)
      at = graph.nodes[at].parent;
    machine.push_back(at);
  }
  return machine;
}

std::vector<Side> machines(const FlowNetwork& network, const topology::Graph& graph) {
  constexpr size_t kMostMachines = 64;
  const std::vector<int32_t> of_node = machine_of(network, graph);
  std::map<int32_t, Side> alone;
  for (int32_t t = 0; t < network.n_terminals; ++t)
    alone.try_emplace(of_node[t], Side(of_node.size(), false));
  std::vector<Side> sides;
  Side first(of_node.size(), false);
  for (auto& [machine, side] : alone) {
    for (size_t node = 0; node < side.size(); ++node) {
      side[node] = of_node[node] == machine;
      first[node] = first[node] || side[node];
    }
    sides.push_back(side);
    sides.push_back(first);
    if (sides.size() >= 2 * kMostMachines) break;
  }
  return sides;
}

// Of small networks. Drawn alike everywhere.
std::vector<Side> random_halves(const FlowNetwork& network) {
  constexpr int32_t kSmall = 256;
  constexpr size_t kHalves = 64;
  std::vector<Side> sides;
  std::mt19937 random(1);
  while (network.n_nodes() <= kSmall && sides.size() < kHalves) {
    Side side;
    for (int32_t node = 0; node < network.n_nodes(); ++node) side.push_back((random() & 1) != 0);
    sides.push_back(std::move(side));
  }
  return sides;
}

std::vector<Side> starts(const FlowNetwork& network, const topology::Graph& graph,
                         const std::vector<Side>& hints) {
  constexpr int32_t kMostSingle = 64;
  std::vector<Side> sides = machines(network, graph);
  sides.insert(sides.end(), hints.begin(), hints.end());
  const auto n_nodes = static_cast<size_t>(network.n_nodes());
  for (int32_t t = 0; t < std::min(network.n_terminals, kMostSingle); ++t) {
    Side only(n_nodes, false);
    only[t] = true;
    Side all_but(n_nodes, true);
    all_but[t] = false;
    sides.push_back(std::move(only));
    sides.push_back(std::move(all_but));
  }
  for (Side& side : random_halves(network)) sides.push_back(std::move(side));
  return sides;
}

}  // namespace

Rational separation_ratio(const FlowNetwork& network, const std::vector<bool>& inside) {
  Cut cut(network);
  cut.start(inside);
  return cut.ratio();
}

std::vector<bool> best_separation(const FlowNetwork& network, const topology::Graph& graph,
                                  const std::vector<Side>& hints) {
  Cut cut(network);
  Side best = hints.front();
  Rational largest = separation_ratio(network, best);
  for (Side& side : starts(network, graph, hints)) {
    cut.start(std::move(side));
    cut.improve();
    if (!(cut.ratio() > largest)) continue;
    largest = cut.ratio();
    best = cut.inside();
  }
  return best;
}

}  // namespace tutti::planner
