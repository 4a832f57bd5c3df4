// SPDX-License-Identifier: Apache-2.0
// Shortest ways, and the sharing out of equal ones.
#include "src/planner/alltoall/block_ways.h"

#include <algorithm>
#include <functional>
#include <queue>
#include <utility>

namespace tutti::planner {
namespace {

// Costs of a way, so far apart that no number of one kind outweighs one of the kind before.
constexpr int64_t kFabricHop = int64_t{1} << 44;
constexpr int64_t kRelay = int64_t{1} << 28;
constexpr int64_t kRelayAfterFabric = kRelay + (int64_t{1} << 16);
constexpr int64_t kHop = 1;
constexpr int64_t kNoWay = INT64_MAX;

class ShortestWays {
 public:
  ShortestWays(const FlowNetwork& network, const topology::Graph& graph, Relays relays)
      : network_(network),
        relays_(relays),
        leaving_(static_cast<size_t>(network.n_nodes())),
        entering_(static_cast<size_t>(network.n_nodes())),
        load_(network.arcs.size(), 0) {
    for (size_t i = 0; i < network.arcs.size(); ++i) {
      const FlowNetwork::Arc& arc = network.arcs[i];
      leaving_[arc.from].push_back(static_cast<int32_t>(i));
      entering_[arc.to].push_back(static_cast<int32_t>(i));
      const bool fabric = graph.links[arc.hop.link].type == topology::LinkType::kNetwork;
      cost_.push_back(fabric ? kFabricHop + kHop : kHop);
    }
  }

  // false: there is no way to one of them.
  bool add_from(int32_t source, BlockWays* ways) {
    measure(source);
    const int32_t n = network_.n_terminals;
    const size_t first = ways->ways.size();
    for (int32_t sink = 0; sink < n; ++sink)
      if (sink != source) ways->ways.push_back({.source = source, .sink = sink});
    // Near sinks above first: sources that are alike share out equal ways alike.
    for (int32_t step = 1; step < n; ++step) {
      const int32_t sink = (source + step) % n;
      if (distance_[sink] == kNoWay) return false;
      ways->ways[first + static_cast<size_t>(sink - (sink > source ? 1 : 0))].arcs =
          take_way(source, sink);
    }
    return true;
  }

 private:
  // Of an arc as the next one behind `node`.
  int64_t cost(int32_t node, int32_t arc, int32_t source) const {
    const bool relays = node < network_.n_terminals && node != source;
    if (!relays) return cost_[arc];
    return cost_[arc] + (distance_[node] < kFabricHop ? kRelay : kRelayAfterFabric);
  }
  bool passes(int32_t node, int32_t source) const {
    return relays_ == Relays::kAllowed || node >= network_.n_terminals || node == source;
  }

  void measure(int32_t source) {
    using Entry = std::pair<int64_t, int32_t>;
    std::priority_queue<Entry, std::vector<Entry>, std::greater<>> queue;
    distance_.assign(leaving_.size(), kNoWay);
    distance_[source] = 0;
    queue.emplace(0, source);
    while (!queue.empty()) {
      const auto [distance, node] = queue.top();
      queue.pop();
      if (distance != distance_[node] || !passes(node, source)) continue;
      for (const int32_t arc : leaving_[node]) {
        const int32_t to = network_.arcs[arc].to;
        const int64_t next = distance + cost(node, arc, source);
        if (next >= distance_[to]) continue;
        distance_[to] = next;
        queue.emplace(next, to);
      }
    }
  }

  bool less_busy(int32_t a, int32_t b) const {
    return (load_[a] + 1) * network_.arcs[b].capacity < (load_[b] + 1) * network_.arcs[a].capacity;
  }

  std::vector<int32_t> take_way(int32_t source, int32_t sink) {
    std::vector<int32_t> arcs;
    for (int32_t node = sink; node != source;) {
      int32_t best = -1;
      for (const int32_t arc : entering_[node]) {
        const int32_t from = network_.arcs[arc].from;
        if (distance_[from] == kNoWay || !passes(from, source)) continue;
        if (distance_[from] + cost(from, arc, source) != distance_[node]) continue;
        if (best < 0 || less_busy(arc, best)) best = arc;
      }
      ++load_[best];
      arcs.push_back(best);
      node = network_.arcs[best].from;
    }
    std::ranges::reverse(arcs);
    return arcs;
  }

  const FlowNetwork& network_;
  Relays relays_;
  std::vector<std::vector<int32_t>> leaving_;   // arcs, by node
  std::vector<std::vector<int32_t>> entering_;  // arcs, by node
  std::vector<int64_t> cost_;                   // by arc
  std::vector<int64_t> load_;                   // blocks, by arc
  std::vector<int64_t> distance_;               // from the last source, by node
};

}  // namespace

std::optional<BlockWays> shortest_ways(const FlowNetwork& network, const topology::Graph& graph,
                                       Relays relays) {
  ShortestWays search(network, graph, relays);
  BlockWays ways;
  for (int32_t source = 0; source < network.n_terminals; ++source)
    if (!search.add_from(source, &ways)) return std::nullopt;
  return ways;
}

Rational busiest_time(const FlowNetwork& network, const BlockWays& ways) {
  std::vector<int64_t> load(network.arcs.size(), 0);
  for (const BlockWay& way : ways.ways)
    for (const int32_t arc : way.arcs) ++load[arc];
  Rational busiest;
  for (size_t i = 0; i < load.size(); ++i) {
    const int64_t per_unit = int64_t{ways.chunks_per_block} * network.n_terminals;
    busiest = std::max(
        busiest, Rational::of_wide(load[i], Rational::Wide{per_unit} * network.arcs[i].capacity));
  }
  return busiest;
}

}  // namespace tutti::planner
