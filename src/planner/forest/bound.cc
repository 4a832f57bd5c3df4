// SPDX-License-Identifier: Apache-2.0
// Finds the cut with the most terminals per capacity.
#include "src/planner/forest/bound.h"

#include <algorithm>
#include <map>
#include <numeric>
#include <tuple>

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
    if (Rational::Wide{inverse_rate.denominator} * network_.n_terminals > INT64_MAX / 4)
      throw Error(StatusCode::kInvalidArgument,
                  "topology: the capacities have too small a common divisor to compute exactly: "
                  "round them");
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

// All nodes but the terminal that receives least: the first guess.
std::vector<bool> all_but_the_slowest(const FlowNetwork& network) {
  std::vector<int64_t> entering(static_cast<size_t>(network.n_nodes()), 0);
  for (const FlowNetwork::Arc& arc : network.arcs) entering[arc.to] += arc.capacity;
  const auto slowest = std::min_element(entering.begin(), entering.begin() + network.n_terminals);
  std::vector<bool> inside(entering.size(), true);
  inside[static_cast<size_t>(slowest - entering.begin())] = false;
  return inside;
}

// Colours of nodes, made finer by the colours behind their arcs until none splits.
class Refinement {
 public:
  explicit Refinement(const FlowNetwork& network)
      : network_(network), colours_(static_cast<size_t>(network.n_nodes()), 0) {
    for (int32_t t = 0; t < network.n_terminals; ++t) colours_[t] = 1;
  }

  const std::vector<int32_t>& run() {
    for (size_t before = 0, now = 2; now > before;) {
      before = now;
      now = refine();
    }
    return colours_;
  }

 private:
  // Own colour, and each arc's direction, capacity and colour at the other end, sorted.
  using Signature = std::vector<std::tuple<int32_t, int64_t, int32_t>>;

  size_t refine() {
    std::vector<Signature> signatures(colours_.size());
    for (size_t node = 0; node < colours_.size(); ++node)
      signatures[node].emplace_back(-1, 0, colours_[node]);
    for (const FlowNetwork::Arc& arc : network_.arcs) {
      signatures[arc.from].emplace_back(0, arc.capacity, colours_[arc.to]);
      signatures[arc.to].emplace_back(1, arc.capacity, colours_[arc.from]);
    }
    std::map<Signature, int32_t> numbers;
    for (size_t node = 0; node < colours_.size(); ++node) {
      std::ranges::sort(signatures[node]);
      colours_[node] =
          numbers.try_emplace(std::move(signatures[node]), static_cast<int32_t>(numbers.size()))
              .first->second;
    }
    return numbers.size();
  }

  const FlowNetwork& network_;
  std::vector<int32_t> colours_;
};

std::vector<int32_t> terminals_to_ask(const FlowNetwork& network) {
  constexpr int32_t kFewEnough = 2048;
  if (network.n_terminals > kFewEnough) return terminal_kinds(network);
  std::vector<int32_t> all(static_cast<size_t>(network.n_terminals));
  std::iota(all.begin(), all.end(), 0);
  return all;
}

}  // namespace

std::vector<int32_t> terminal_kinds(const FlowNetwork& network) {
  Refinement refinement(network);
  const std::vector<int32_t>& colours = refinement.run();
  std::map<int32_t, int32_t> first;
  for (int32_t t = 0; t < network.n_terminals; ++t) first.try_emplace(colours[t], t);
  std::vector<int32_t> kinds;
  kinds.reserve(first.size());
  for (const auto& [colour, terminal] : first) kinds.push_back(terminal);
  return kinds;
}

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
  take(all_but_the_slowest(network));
  Probe probe(network);
  probe.set_rate(bound.inverse_rate);
  for (const int32_t t : terminals_to_ask(network)) {
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
