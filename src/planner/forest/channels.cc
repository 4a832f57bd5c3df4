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

// What shares a channel.
class Channel {
 public:
  explicit Channel(int32_t n_terminals) : parents_(static_cast<size_t>(n_terminals)) {}

  // No two terminals may need two ways.
  bool has_room_for(const Tree& tree, const Wires& wires) const {
    return std::ranges::all_of(tree.wires, [&](int32_t index) {
      const Wire& wire = wires.wires[index];
      const auto at = ways_.find({wire.from, wire.to});
      return at == ways_.end() || *at->second == wire.hops;
    });
  }

  // Terminals whose lane would have to look to one more neighbour: while it waits for one of them,
  // it keeps the others waiting.
  int32_t conflicts(const Tree& tree, const Wires& wires) const {
    int32_t count = 0;
    for (const int32_t index : tree.wires) {
      const Wire& wire = wires.wires[index];
      const std::vector<int32_t>& known = parents_[wire.to];
      count += known.empty() || std::ranges::count(known, wire.from) > 0 ? 0 : 1;
    }
    return count;
  }

  void add(const Tree& tree, const Wires& wires) {
    ++n_trees_;
    for (const int32_t index : tree.wires) {
      const Wire& wire = wires.wires[index];
      ways_.try_emplace({wire.from, wire.to}, &wire.hops);
      std::vector<int32_t>& known = parents_[wire.to];
      if (std::ranges::count(known, wire.from) == 0) known.push_back(wire.from);
    }
  }

  int32_t n_trees() const { return n_trees_; }
  const WayOf& ways() const { return ways_; }

 private:
  int32_t n_trees_ = 0;
  WayOf ways_;
  std::vector<std::vector<int32_t>> parents_;  // distinct, by terminal
};

// With room, the fewest conflicts, and then the fewest trees; a new one when none has room.
size_t channel_for(const Tree& tree, const Wires& wires, std::vector<Channel>* channels) {
  size_t best = channels->size();
  std::pair<int32_t, int32_t> least;
  for (size_t i = 0; i < channels->size(); ++i) {
    const Channel& channel = (*channels)[i];
    if (!channel.has_room_for(tree, wires)) continue;
    const std::pair<int32_t, int32_t> price{channel.conflicts(tree, wires), channel.n_trees()};
    if (best == channels->size() || price < least) {
      best = i;
      least = price;
    }
  }
  if (best == channels->size()) channels->emplace_back(wires.n_terminals);
  return best;
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
  std::vector<Channel> channels(static_cast<size_t>(std::min(max_channels, first.back())),
                                Channel(forest.wires.n_terminals));
  PlacedForest placed;
  for (const Tree& tree : forest.trees) {
    for (int64_t copy = 0; copy < tree.copies / share; ++copy) {
      PlacedTree one = shape_of(tree, forest.wires, next[tree.root]++);
      const size_t channel = channel_for(tree, forest.wires, &channels);
      channels[channel].add(tree, forest.wires);
      one.channel = static_cast<int32_t>(channel);
      placed.trees.push_back(std::move(one));
    }
  }
  placed.channels = static_cast<int32_t>(channels.size());
  std::ranges::stable_sort(placed.trees, {}, [&](const PlacedTree& tree) {
    return std::tuple(tree.channel, tree.extent - first[tree.root], tree.root);
  });
  for (size_t channel = 0; channel < channels.size(); ++channel)
    for (const auto& [wire, hops] : channels[channel].ways())
      placed.routes.push_back(
          route_of(wire, *hops, flow, first_channel + static_cast<int32_t>(channel)));
  return placed;
}

}  // namespace tutti::planner
