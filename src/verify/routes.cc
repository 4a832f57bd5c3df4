// SPDX-License-Identifier: Apache-2.0
// Dijkstra's algorithm from each source, and a walk back from each of its sinks.
#include "src/verify/routes.h"

#include <algorithm>
#include <compare>
#include <functional>
#include <map>
#include <queue>
#include <tuple>
#include <utility>

#include <spdlog/fmt/fmt.h>

#include "src/base/error.h"
#include "src/verify/switch_tree.h"

namespace tutti::verify {
namespace {

[[noreturn]] void refuse(const std::string& what) {
  throw Error(StatusCode::kInvalidArgument, "routes: " + what);
}

// Of the best way to a node; the less the better. Longer ways are never better, so Dijkstra's
// algorithm finds the least.
struct Distance {
  int32_t gpus = INT32_MAX;  // passed through; INT32_MAX: no way has been found
  int32_t hops = 0;
  int64_t narrowness = 0;  // minus the capacity of the narrowest hop, in Mbit/s
  auto operator<=>(const Distance&) const = default;
};

// A link as one of its ends sees it.
struct Port {
  Hop hop;  // towards this node
  int32_t from = 0;
  int64_t mbit_s = 0;
};

// The ways into each node, by link. What is down is no way.
std::vector<std::vector<Port>> ways_into_nodes(const topology::Graph& graph) {
  std::vector<std::vector<Port>> ways(graph.nodes.size());
  for (int32_t i = 0; i < static_cast<int32_t>(graph.links.size()); ++i) {
    const topology::Link& link = graph.links[i];
    if (link.forward_mbit_s != 0)
      ways[link.to].push_back({{i, false}, link.from, link.forward_mbit_s});
    if (link.reverse_mbit_s != 0)
      ways[link.from].push_back({{i, true}, link.to, link.reverse_mbit_s});
  }
  return ways;
}

class Router {
 public:
  explicit Router(const topology::Graph& graph) : graph_(graph), into_(ways_into_nodes(graph)) {
    out_.resize(graph.nodes.size());
    for (int32_t to = 0; to < static_cast<int32_t>(into_.size()); ++to)
      for (const Port& port : into_[to]) out_[port.from].emplace_back(to, port);
  }

  // Appends the way; false when there is none. `choice` decides among equal ones.
  bool find(int32_t from, int32_t to, uint32_t choice, std::vector<Hop>* hops) {
    if (from != source_) measure(from);
    if (distances_[to].gpus == INT32_MAX) return false;
    const auto begin = static_cast<std::ptrdiff_t>(hops->size());
    for (int32_t at = to; at != from;) {
      const std::vector<const Port*> best = best_into(at);
      const Port& port = *best[choice % best.size()];
      choice /= static_cast<uint32_t>(best.size());
      hops->push_back(port.hop);
      at = port.from;
    }
    std::reverse(hops->begin() + begin, hops->end());
    return true;
  }

 private:
  Distance behind(int32_t node, const Port& port) const {
    Distance next = distances_[node];
    if (node != source_ && graph_.nodes[node].kind == topology::NodeKind::kGpu) ++next.gpus;
    ++next.hops;
    next.narrowness = std::max(next.narrowness, -port.mbit_s);
    return next;
  }

  void measure(int32_t source) {
    source_ = source;
    distances_.assign(graph_.nodes.size(), {});
    distances_[source] = {.gpus = 0, .hops = 0, .narrowness = INT64_MIN};
    using Entry = std::pair<Distance, int32_t>;
    std::priority_queue<Entry, std::vector<Entry>, std::greater<>> queue;
    queue.emplace(distances_[source], source);
    while (!queue.empty()) {
      const auto [distance, node] = queue.top();
      queue.pop();
      if (distance != distances_[node]) continue;
      for (const auto& [to, port] : out_[node]) {
        const Distance next = behind(node, port);
        if (next >= distances_[to]) continue;
        distances_[to] = next;
        queue.emplace(next, to);
      }
    }
  }

  // The last hops of the best ways to `node`.
  std::vector<const Port*> best_into(int32_t node) const {
    std::vector<const Port*> best;
    for (const Port& port : into_[node]) {
      const bool reached = distances_[port.from].gpus != INT32_MAX;
      if (reached && behind(port.from, port) == distances_[node]) best.push_back(&port);
    }
    return best;
  }

  const topology::Graph& graph_;
  std::vector<std::vector<Port>> into_;                     // by node
  std::vector<std::vector<std::pair<int32_t, Port>>> out_;  // by node: where to, and how
  int32_t source_ = -1;
  std::vector<Distance> distances_;  // by node, from source_
};

using Key = std::tuple<int32_t, int32_t, int32_t>;  // source, sink, channel

std::vector<Key> connections_of(const plan::Plan& plan) {
  std::vector<Key> keys;
  for (int32_t rank = 0; rank < plan.shape.n_ranks; ++rank) {
    const size_t first = keys.size();
    for (const plan::Lane& lane : plan.ranks[rank].lanes)
      for (const plan::Step& step : lane.steps)
        for (const plan::Operand& sink : step.sinks)
          if (sink.kind == plan::Operand::Kind::kPeer)
            keys.emplace_back(rank, sink.index, sink.channel);
    const auto begin = keys.begin() + static_cast<std::ptrdiff_t>(first);
    std::sort(begin, keys.end());
    keys.erase(std::unique(begin, keys.end()), keys.end());
  }
  return keys;
}

void check_nodes(const plan::Plan& plan, const topology::Graph& graph,
                 const std::vector<int32_t>& node_of_rank) {
  if (node_of_rank.size() != static_cast<size_t>(plan.shape.n_ranks))
    refuse(fmt::format("expected a node for each of {} ranks, got {}", plan.shape.n_ranks,
                       node_of_rank.size()));
  for (size_t rank = 0; rank < node_of_rank.size(); ++rank) {
    const int32_t node = node_of_rank[rank];
    if (node < 0 || static_cast<size_t>(node) >= graph.nodes.size())
      refuse(fmt::format("rank {}: expected a node from 0 to {}, got {}", rank,
                         graph.nodes.size() - 1, node));
  }
}

// The ends of the connection, and what its detour passes in between.
std::vector<int32_t> stops_of(const Key& key, const std::map<Key, const Detour*>& detours,
                              const Placement& placement, const topology::Graph& graph) {
  std::vector<int32_t> stops{placement.node_of_rank[std::get<0>(key)]};
  if (const auto found = detours.find(key); found != detours.end())
    stops.insert(stops.end(), found->second->through.begin(), found->second->through.end());
  stops.push_back(placement.node_of_rank[std::get<1>(key)]);
  for (const int32_t node : stops)
    if (node < 0 || static_cast<size_t>(node) >= graph.nodes.size())
      refuse(fmt::format("detour: expected a node from 0 to {}, got {}", graph.nodes.size() - 1,
                         node));
  return stops;
}

// Finds the loops of a plan's switch channels, once its connections have routes.
class LoopFinder {
 public:
  LoopFinder(const topology::Graph& graph, const Placement& placement, Router* router)
      : graph_(graph), placement_(placement), router_(*router) {}

  Route loop(const plan::SwitchChannel& entry) {
    Near nearest;
    for (const Route& route : placement_.routes)
      if (is_of(route, entry)) look_along(route, entry.kind, &nearest);
    Route found{entry.rank, entry.rank, entry.channel, {}};
    if (nearest.hops.empty()) return found;
    const int32_t own = placement_.node_of_rank[entry.rank];
    const bool out = entry.kind == plan::SwitchChannel::Kind::kMulticast;
    if (out) found.hops = nearest.hops;
    if (!router_.find(out ? nearest.node : own, out ? own : nearest.node, 0, &found.hops))
      refuse(fmt::format("there is a way between {} and {} one way only", graph_.nodes[own].id,
                         graph_.nodes[nearest.node].id));
    if (!out) found.hops.insert(found.hops.end(), nearest.hops.begin(), nearest.hops.end());
    return found;
  }

 private:
  struct Near {
    int32_t node = -1;
    std::vector<Hop> hops;  // from the rank to it, or from it to the rank
  };

  static bool is_of(const Route& route, const plan::SwitchChannel& entry) {
    const bool out = entry.kind == plan::SwitchChannel::Kind::kMulticast;
    return route.channel == entry.channel && route.source_rank != route.sink_rank &&
           (out ? route.source_rank : route.sink_rank) == entry.rank;
  }

  // The first switch that serves, from the rank's end of the route.
  void look_along(const Route& route, plan::SwitchChannel::Kind kind, Near* nearest) const {
    const bool out = kind == plan::SwitchChannel::Kind::kMulticast;
    const size_t n = route.hops.size();
    for (size_t i = 0; i + 1 < n; ++i) {
      if (!nearest->hops.empty() && nearest->hops.size() <= i + 1) return;
      const Hop& hop = route.hops[out ? i : n - 1 - i];
      const topology::Link& link = graph_.links[hop.link];
      const int32_t node = out == hop.reverse ? link.from : link.to;
      if (!serves(graph_.nodes[node], kind)) continue;
      const auto split = route.hops.begin() + static_cast<std::ptrdiff_t>(out ? i + 1 : n - 1 - i);
      *nearest = {node, out ? std::vector<Hop>(route.hops.begin(), split)
                            : std::vector<Hop>(split, route.hops.end())};
      return;
    }
  }

  const topology::Graph& graph_;
  const Placement& placement_;
  Router& router_;
};

void add_loops(const plan::Plan& plan, const topology::Graph& graph, Router* router,
               Placement* placement) {
  if (plan.switch_channels.empty()) return;
  std::map<Key, Route> loops;  // a multicast and a reduction of one rank and channel share theirs
  LoopFinder finder(graph, *placement, router);
  for (const plan::SwitchChannel& entry : plan.switch_channels) {
    Route& kept = loops[{entry.rank, entry.rank, entry.channel}];
    Route found = finder.loop(entry);
    if (kept.hops.empty()) kept = std::move(found);
  }
  for (auto& [key, loop] : loops) placement->routes.push_back(std::move(loop));
  std::ranges::sort(placement->routes, {}, [](const Route& route) {
    return Key{route.source_rank, route.sink_rank, route.channel};
  });
}

// What a connection goes by where several ways are equal.
uint32_t choice_of(const Key& key, const plan::Plan& plan) {
  const auto [source, sink, channel] = key;
  const plan::SwitchChannel multicast{source, channel, plan::SwitchChannel::Kind::kMulticast};
  const bool is_one = std::ranges::binary_search(plan.switch_channels, multicast);
  return static_cast<uint32_t>((is_one ? source : sink) + channel);
}

}  // namespace

Placement place_by_shortest_paths(const plan::Plan& plan, const topology::Graph& graph,
                                  std::vector<int32_t> node_of_rank,
                                  std::span<const Detour> detours) {
  plan::check_well_formed(plan);
  check_nodes(plan, graph, node_of_rank);
  std::map<Key, const Detour*> detour_of;
  for (const Detour& detour : detours)
    detour_of[{detour.source_rank, detour.sink_rank, detour.channel}] = &detour;
  Placement placement{.node_of_rank = std::move(node_of_rank)};
  Router router(graph);
  for (const auto& [source, sink, channel] : connections_of(plan)) {
    Route route{source, sink, channel, {}};
    const std::vector<int32_t> stops =
        stops_of({source, sink, channel}, detour_of, placement, graph);
    const uint32_t choice = choice_of({source, sink, channel}, plan);
    for (size_t i = 0; i + 1 < stops.size(); ++i)
      if (!router.find(stops[i], stops[i + 1], choice, &route.hops))
        refuse(fmt::format("there is no way from rank {} ({}) to rank {} ({}){}", source,
                           graph.nodes[stops.front()].id, sink, graph.nodes[stops.back()].id,
                           stops.size() == 2
                               ? ""
                               : fmt::format(": none from {} to {}", graph.nodes[stops[i]].id,
                                             graph.nodes[stops[i + 1]].id)));
    placement.routes.push_back(std::move(route));
  }
  add_loops(plan, graph, &router, &placement);
  return placement;
}

}  // namespace tutti::verify
