// SPDX-License-Identifier: Apache-2.0
// Checks placements and adds up what crosses each link.
#include "src/verify/placement.h"

#include <algorithm>
#include <map>
#include <tuple>

#include <spdlog/fmt/fmt.h>

#include "src/base/error.h"
#include "src/verify/switch_tree.h"

namespace tutti::verify {
namespace {

using Key = std::tuple<int32_t, int32_t, int32_t>;  // source, sink, channel

Key key_of(const Route& route) { return {route.source_rank, route.sink_rank, route.channel}; }

std::string describe(const Key& key) {
  return fmt::format("connection {} to {}, channel {}", std::get<0>(key), std::get<1>(key),
                     std::get<2>(key));
}

[[noreturn]] void refuse(const std::string& what) {
  throw Error(StatusCode::kInvalidArgument, "placement: " + what);
}

// Chunks that each connection carries; 0 for one that only signals.
std::map<Key, int64_t> chunks_of(const plan::Plan& plan) {
  std::map<Key, int64_t> chunks;
  for (int32_t rank = 0; rank < plan.shape.n_ranks; ++rank) {
    for (const plan::Lane& lane : plan.ranks[rank].lanes) {
      for (const plan::Step& step : lane.steps) {
        for (const plan::Operand& sink : step.sinks) {
          if (sink.kind != plan::Operand::Kind::kPeer) continue;
          chunks[{rank, sink.index, sink.channel}] += step.extent == plan::kNoExtent ? 0 : 1;
        }
      }
    }
  }
  return chunks;
}

void check_hops(const Route& route, const Placement& placement, const topology::Graph& graph) {
  int32_t at = placement.node_of_rank[route.source_rank];
  for (const Hop& hop : route.hops) {
    if (hop.link < 0 || static_cast<size_t>(hop.link) >= graph.links.size())
      refuse(fmt::format("{}: expected a link from 0 to {}, got {}", describe(key_of(route)),
                         graph.links.size() - 1, hop.link));
    const topology::Link& link = graph.links[hop.link];
    const int32_t begin = hop.reverse ? link.to : link.from;
    if (begin != at)
      refuse(fmt::format("{}: the hop over link {} begins at {}, the way has come to {}",
                         describe(key_of(route)), hop.link, graph.nodes[begin].id,
                         graph.nodes[at].id));
    at = hop.reverse ? link.from : link.to;
  }
  const int32_t end = placement.node_of_rank[route.sink_rank];
  if (at != end)
    refuse(fmt::format("{}: expected a way to {}, it ends at {}", describe(key_of(route)),
                       graph.nodes[end].id, graph.nodes[at].id));
}

void check_nodes(const plan::Plan& plan, const Placement& placement, const topology::Graph& graph) {
  const auto n = static_cast<size_t>(plan.shape.n_ranks);
  if (placement.node_of_rank.size() != n)
    refuse(fmt::format("expected a node for each of {} ranks, got {}", n,
                       placement.node_of_rank.size()));
  for (size_t rank = 0; rank < n; ++rank) {
    const int32_t node = placement.node_of_rank[rank];
    if (node < 0 || static_cast<size_t>(node) >= graph.nodes.size())
      refuse(fmt::format("rank {}: expected a node from 0 to {}, got {}", rank,
                         graph.nodes.size() - 1, node));
  }
}

}  // namespace

void check_placement(const plan::Plan& plan, const Placement& placement,
                     const topology::Graph& graph) {
  check_nodes(plan, placement, graph);
  std::map<Key, int64_t> unrouted = chunks_of(plan);
  for (const plan::SwitchChannel& entry : plan.switch_channels)
    unrouted.try_emplace({entry.rank, entry.rank, entry.channel}, 0);
  const Route* last = nullptr;
  for (const Route& route : placement.routes) {
    if (last != nullptr && !(key_of(*last) < key_of(route)))
      refuse(fmt::format("expected routes in ascending order, got {} after {}",
                         describe(key_of(route)), describe(key_of(*last))));
    if (unrouted.erase(key_of(route)) == 0)
      refuse(fmt::format("{}: the plan has no such connection", describe(key_of(route))));
    check_hops(route, placement, graph);
    last = &route;
  }
  if (!unrouted.empty()) refuse(fmt::format("{}: has no route", describe(unrouted.begin()->first)));
  check_loops(plan, placement, graph);
}

std::vector<LinkLoad> link_loads(const plan::Plan& plan, const Placement& placement,
                                 const topology::Graph& graph) {
  check_placement(plan, placement, graph);
  const std::map<Key, int64_t> chunks_by_connection = chunks_of(plan);
  std::vector<LinkLoad> loads(graph.links.size());
  const auto add = [&](const std::vector<Hop>& hops, int64_t chunks) {
    for (const Hop& hop : hops) {
      LinkLoad& load = loads[hop.link];
      (hop.reverse ? load.reverse_chunks : load.forward_chunks) += chunks;
    }
  };
  const auto chunks_on = [&](uint32_t route) {
    return chunks_by_connection.at(key_of(placement.routes[route]));
  };
  std::vector<bool> alone(placement.routes.size(), true);
  for (const SwitchTree& tree : switch_trees(plan, placement, graph)) {
    int64_t chunks = 0;  // as many on each connection, as the verifier sees to
    for (const uint32_t route : tree.connections) {
      chunks = std::max(chunks, chunks_on(route));
      alone[route] = false;
    }
    alone[tree.loop] = false;
    add(tree.hops, chunks);
  }
  for (uint32_t route = 0; route < alone.size(); ++route)
    if (alone[route]) add(placement.routes[route].hops, chunks_on(route));
  return loads;
}

}  // namespace tutti::verify
