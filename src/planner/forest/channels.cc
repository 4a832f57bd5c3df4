// SPDX-License-Identifier: Apache-2.0
// Gives every tree a channel in which no connection of it has another way already.
#include "src/planner/forest/channels.h"

#include <algorithm>
#include <map>
#include <numeric>
#include <tuple>
#include <utility>

namespace tutti::planner {
namespace {

using Pair = std::pair<int32_t, int32_t>;
using WayOf = std::map<Pair, const std::vector<verify::Hop>*>;  // by (from, to) of a wire

PlacedTree shape_of(const Tree& tree, const Wires& wires, int32_t extent) {
  const auto n = static_cast<size_t>(wires.n_terminals);
  PlacedTree placed{.root = tree.root,
                    .extent = extent,
                    .parent = std::vector<int32_t>(n, -1),
                    .depth = std::vector<int32_t>(n, 0),
                    .children = std::vector<std::vector<int32_t>>(n)};
  for (const int32_t index : tree.wires) {
    const Wire& wire = wires.wires[index];
    placed.parent[wire.to] = wire.from;
    placed.depth[wire.to] = placed.depth[wire.from] + 1;
    placed.children[wire.from].push_back(wire.to);
  }
  for (auto& children : placed.children) std::sort(children.begin(), children.end());
  return placed;
}

bool fits(const Tree& tree, const Wires& wires, const WayOf& ways) {
  return std::ranges::all_of(tree.wires, [&](int32_t index) {
    const Wire& wire = wires.wires[index];
    const auto at = ways.find({wire.from, wire.to});
    return at == ways.end() || *at->second == wire.hops;
  });
}

void use(const Tree& tree, const Wires& wires, WayOf* ways) {
  for (const int32_t index : tree.wires) {
    const Wire& wire = wires.wires[index];
    ways->try_emplace({wire.from, wire.to}, &wire.hops);
  }
}

verify::Route route_of(const Pair& wire, const std::vector<verify::Hop>& hops, Flow flow,
                       int32_t channel) {
  verify::Route route{wire.first, wire.second, channel, hops};
  if (flow == Flow::kOut) return route;
  // The wire is one of the reversed network, so its end sends to its beginning.
  std::swap(route.source_rank, route.sink_rank);
  std::reverse(route.hops.begin(), route.hops.end());
  for (verify::Hop& hop : route.hops) hop.reverse = !hop.reverse;
  return route;
}

// By root, and the number of all at the end.
std::vector<int32_t> first_extents(const Forest& forest, int64_t share) {
  std::vector<int32_t> first(static_cast<size_t>(forest.wires.n_terminals) + 1, 0);
  for (const Tree& tree : forest.trees)
    first[tree.root + 1] += static_cast<int32_t>(tree.copies / share);
  std::partial_sum(first.begin(), first.end(), first.begin());
  return first;
}

// From `wanted` on, round and round, the first with room; a new one when there is none.
size_t channel_for(const Tree& tree, const Wires& wires, size_t wanted, std::vector<WayOf>* ways) {
  for (size_t i = 0; i < ways->size(); ++i) {
    const size_t channel = (wanted + i) % ways->size();
    if (fits(tree, wires, (*ways)[channel])) return channel;
  }
  ways->emplace_back();
  return ways->size() - 1;
}

}  // namespace

int64_t common_share(const Forest& forest) {
  int64_t common = 0;
  for (const Tree& tree : forest.trees) common = std::gcd(common, tree.copies);
  return std::max<int64_t>(common, 1);
}

PlacedForest place_trees(const Forest& forest, Flow flow, int64_t share, int32_t max_channels,
                         int32_t first_channel) {
  const std::vector<int32_t> first = first_extents(forest, share);
  std::vector<int32_t> next(first);
  std::vector<WayOf> ways(static_cast<size_t>(std::min(max_channels, first.back())));
  PlacedForest placed;
  for (const Tree& tree : forest.trees) {
    for (int64_t copy = 0; copy < tree.copies / share; ++copy) {
      const int32_t extent = next[tree.root]++;
      PlacedTree one = shape_of(tree, forest.wires, extent);
      // Neighbouring roots on neighbouring channels, and the trees of one root too.
      const int32_t wanted = extent - first[tree.root] + tree.root;
      const size_t channel =
          channel_for(tree, forest.wires, static_cast<size_t>(wanted) % ways.size(), &ways);
      use(tree, forest.wires, &ways[channel]);
      one.channel = static_cast<int32_t>(channel);
      placed.trees.push_back(std::move(one));
    }
  }
  placed.channels = static_cast<int32_t>(ways.size());
  std::ranges::stable_sort(placed.trees, {}, [&](const PlacedTree& tree) {
    return std::tuple(tree.channel, tree.extent - first[tree.root], tree.root);
  });
  for (size_t channel = 0; channel < ways.size(); ++channel)
    for (const auto& [wire, hops] : ways[channel])
      placed.routes.push_back(
          route_of(wire, *hops, flow, first_channel + static_cast<int32_t>(channel)));
  return placed;
}

}  // namespace tutti::planner
