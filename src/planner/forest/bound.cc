// SPDX-License-Identifier: Apache-2.0
// Finds the cut with the most terminals per capacity.
#include "src/planner/forest/bound.h"

#include <spdlog/fmt/fmt.h>

#include "src/base/error.h"
#include "src/planner/flow/max_flow.h"

namespace tutti::planner {
namespace {

int64_t leaving(const FlowNetwork& network, const std::vector<bool>& inside) {
  int64_t capacity = 0;
  for (const FlowNetwork::Arc& arc : network.arcs)
    if (inside[arc.from] && !inside[arc.to]) capacity += arc.capacity;
  return capacity;
}

int64_t terminals_in(const FlowNetwork& network, const std::vector<bool>& inside) {
  int64_t count = 0;
  for (int32_t t = 0; t < network.n_terminals; ++t) count += inside[t] ? 1 : 0;
  return count;
}

// The network and a source that feeds every terminal, for a rate of denominator / numerator of
// `inverse_rate`, times its numerator so that all is whole.
class Probe {
 public:
  explicit Probe(const FlowNetwork& network)
      : network_(network), flow_(network.n_nodes() + 1), source_(network.n_nodes()) {
    for (const FlowNetwork::Arc& arc : network.arcs) flow_.add_arc(arc.from, arc.to, 0);
    for (int32_t t = 0; t < network.n_terminals; ++t) flow_.add_arc(source_, t, 0);
  }

  void set_rate(const Rational& inverse_rate) {
    int32_t index = 0;
    for (const FlowNetwork::Arc& arc : network_.arcs)
      flow_.set_capacity(index++, inverse_rate.numerator * arc.capacity);
    for (int32_t t = 0; t < network_.n_terminals; ++t)
      flow_.set_capacity(index++, inverse_rate.denominator);
    wanted_ = inverse_rate.denominator * network_.n_terminals;
  }
  bool reaches(int32_t terminal) { return flow_.run(source_, terminal) >= wanted_; }
  std::vector<bool> cut() const {
    std::vector<bool> inside = flow_.source_side();
    inside.pop_back();  // the source
    return inside;
  }

 private:
  const FlowNetwork& network_;
  MaxFlow flow_;
  int32_t source_;
  int64_t wanted_ = 0;
};

[[noreturn]] void refuse_unreachable(const FlowNetwork& network, const topology::Graph& graph,
                                     const std::vector<bool>& inside) {
  for (int32_t from = 0; from < network.n_terminals; ++from)
    for (int32_t to = 0; to < network.n_terminals; ++to)
      if (inside[from] && !inside[to])
        throw Error(StatusCode::kInvalidArgument,
                    fmt::format("topology: no way leads from {} to {} over links that are up and "
                                "whose bandwidth is known",
                                graph.nodes[network.graph_node[from]].id,
                                graph.nodes[network.graph_node[to]].id));
  throw Error(StatusCode::kInternalError, "a cut has all terminals on one side");
}

// All nodes but one terminal: the first guess.
std::vector<bool> all_but(const FlowNetwork& network, int32_t terminal) {
  std::vector<bool> inside(static_cast<size_t>(network.n_nodes()), true);
  inside[terminal] = false;
  return inside;
}

}  // namespace

Rational cut_ratio(const FlowNetwork& network, const std::vector<bool>& inside) {
  return Rational::of(terminals_in(network, inside), leaving(network, inside));
}

Bound all_gather_bound(const FlowNetwork& network, const topology::Graph& graph) {
  Bound bound;
  if (network.n_terminals == 1) {
    bound.inside.assign(static_cast<size_t>(network.n_nodes()), true);
    return bound;
  }
  const auto take = [&](std::vector<bool> inside) {
    if (leaving(network, inside) == 0) refuse_unreachable(network, graph, inside);
    const Rational ratio = cut_ratio(network, inside);
    if (!(ratio > bound.inverse_rate)) return false;
    bound = {ratio, std::move(inside)};
    return true;
  };
  for (int32_t t = 0; t < network.n_terminals; ++t) take(all_but(network, t));
  Probe probe(network);
  probe.set_rate(bound.inverse_rate);
  for (int32_t t = 0; t < network.n_terminals; ++t) {
    while (!probe.reaches(t)) {
      if (!take(probe.cut()))
        throw Error(StatusCode::kInternalError,
                    "a violated cut does not lower the rate of the collective");
      probe.set_rate(bound.inverse_rate);
    }
  }
  return bound;
}

}  // namespace tutti::planner
