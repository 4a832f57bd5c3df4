// SPDX-License-Identifier: Apache-2.0
// Puts trees that look to the same neighbours into one lane.
#include "src/planner/forest/channels.h"

#include <algorithm>
#include <numeric>
#include <tuple>

namespace tutti::planner {
namespace {

// A wire of a forest as what it carries sees it: from the source rank to the sink rank.
verify::Route way_of(const Wire& wire, Flow flow) {
  verify::Route way{wire.from, wire.to, 0, wire.hops};
  if (flow == Flow::kOut) return way;
  // The wire is one of the reversed network, so its end sends to its beginning.
  std::swap(way.source_rank, way.sink_rank);
  std::reverse(way.hops.begin(), way.hops.end());
  for (verify::Hop& hop : way.hops) hop.reverse = !hop.reverse;
  return way;
}

PlacedTree shape_of(const Tree& tree, const Wires& wires, int32_t extent) {
  const auto n = static_cast<size_t>(wires.n_terminals);
  PlacedTree placed{.root = tree.root,
                    .extent = extent,
                    .parent = std::vector<int32_t>(n, -1),
                    .channel = std::vector<int32_t>(n, 0),
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

// Trees whose steps share lanes.
class Group {
 public:
  explicit Group(int32_t n_terminals) : parents_(static_cast<size_t>(n_terminals)) {}

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
      std::vector<int32_t>& known = parents_[wire.to];
      if (std::ranges::count(known, wire.from) == 0) known.push_back(wire.from);
    }
  }
  int32_t n_trees() const { return n_trees_; }

 private:
  int32_t n_trees_ = 0;
  std::vector<std::vector<int32_t>> parents_;  // distinct, by terminal
};

// By root, and the number of all at the end.
std::vector<int32_t> first_extents(const Forest& forest, int64_t share) {
  std::vector<int32_t> first(static_cast<size_t>(forest.wires.n_terminals) + 1, 0);
  for (const Tree& tree : forest.trees)
    first[tree.root + 1] += static_cast<int32_t>(tree.copies / share);
  std::partial_sum(first.begin(), first.end(), first.begin());
  return first;
}

class Sharing {
 public:
  Sharing(const Forest& forest, const LaneGroups& groups, ConnectionTable* table)
      : wires_(forest.wires),
        first_group_(groups.first_group),
        table_(*table),
        groups_(static_cast<size_t>(groups.groups), Group(forest.wires.n_terminals)) {
    for (const Wire& wire : wires_.wires) ways_.push_back(way_of(wire, groups.flow));
  }

  void place(const Tree& tree, PlacedTree* placed) {
    const int32_t group = group_for(tree);
    groups_[group].add(tree, wires_);
    placed->group = group;
    for (const int32_t wire : tree.wires)
      placed->channel[wires_.wires[wire].to] = table_.channel(ways_[wire], first_group_ + group);
  }

 private:
  // What is best first; of two groups that cost the same, the one with fewer trees.
  struct Price {
    int64_t without_room = 0;  // connections that overdraw the budget
    int32_t conflicts = 0;
    int32_t trees = 0;
    auto operator<=>(const Price&) const = default;
  };
  Price price_of(const Tree& tree, int32_t group) const {
    const auto without_room = std::ranges::count_if(tree.wires, [&](int32_t wire) {
      return !table_.has_room(ways_[wire], first_group_ + group);
    });
    return {without_room, groups_[group].conflicts(tree, wires_), groups_[group].n_trees()};
  }

  int32_t group_for(const Tree& tree) const {
    int32_t best = 0;
    Price least{.without_room = INT64_MAX};
    for (int32_t group = 0; group < static_cast<int32_t>(groups_.size()); ++group) {
      const Price price = price_of(tree, group);
      if (!(price < least)) continue;
      best = group;
      least = price;
    }
    return best;
  }

  const Wires& wires_;
  int32_t first_group_;
  ConnectionTable& table_;
  std::vector<Group> groups_;
  std::vector<verify::Route> ways_;  // by wire
};

}  // namespace

bool ConnectionTable::has_room(const verify::Route& way, int32_t group) const {
  const auto found = connections_.find({way.source_rank, way.sink_rank});
  if (found == connections_.end()) return true;
  return static_cast<int32_t>(found->second.size()) < max_channels_ ||
         std::ranges::any_of(found->second, [&](const Connection& connection) {
           return connection.group == group && connection.hops == way.hops;
         });
}

int32_t ConnectionTable::channel(const verify::Route& way, int32_t group) {
  std::vector<Connection>& known = connections_[{way.source_rank, way.sink_rank}];
  const auto found = std::ranges::find_if(known, [&](const Connection& connection) {
    return connection.group == group && connection.hops == way.hops;
  });
  const auto channel = static_cast<int32_t>(found - known.begin());
  if (found == known.end()) known.push_back({group, way.hops});
  return channel;
}

std::vector<verify::Route> ConnectionTable::routes() const {
  std::vector<verify::Route> routes;
  for (const auto& [pair, connections] : connections_)
    for (size_t channel = 0; channel < connections.size(); ++channel)
      routes.push_back(
          {pair.first, pair.second, static_cast<int32_t>(channel), connections[channel].hops});
  return routes;
}

int32_t ConnectionTable::channels() const {
  size_t most = 1;
  for (const auto& [pair, connections] : connections_) most = std::max(most, connections.size());
  return static_cast<int32_t>(most);
}

int64_t common_share(const Forest& forest) {
  int64_t common = 0;
  for (const Tree& tree : forest.trees) common = std::gcd(common, tree.copies);
  return std::max<int64_t>(common, 1);
}

PlacedForest place_trees(const Forest& forest, const LaneGroups& groups, int64_t share,
                         ConnectionTable* table) {
  const std::vector<int32_t> first = first_extents(forest, share);
  std::vector<int32_t> next(first);
  PlacedForest placed;
  Sharing sharing(forest, groups, table);
  for (const Tree& tree : forest.trees) {
    for (int64_t copy = 0; copy < tree.copies / share; ++copy) {
      PlacedTree one = shape_of(tree, forest.wires, next[tree.root]++);
      sharing.place(tree, &one);
      placed.trees.push_back(std::move(one));
    }
  }
  std::ranges::stable_sort(placed.trees, {}, [&](const PlacedTree& tree) {
    return std::tuple(tree.group, tree.extent - first[tree.root], tree.root);
  });
  return placed;
}

}  // namespace tutti::planner
