// SPDX-License-Identifier: Apache-2.0
// Builds the levels of a cluster's plan.
#include "src/planner/hierarchy/hierarchy.h"

#include <algorithm>
#include <map>
#include <numeric>
#include <utility>

#include "src/planner/forest/router.h"
#include "src/planner/hierarchy/machines.h"

namespace tutti::planner {
namespace {

using Groups = std::vector<std::vector<int32_t>>;
using verify::Hierarchy;
using verify::Level;

// Most members of a group between machines; more are several levels.
constexpr int32_t kMostMembers = 64;

// Factors of at most kMostMembers that multiply to n, a prime that is larger by itself.
std::vector<int32_t> factors(int32_t n) {
  std::vector<int32_t> found;
  while (n > kMostMembers) {
    int32_t factor = kMostMembers;
    while (factor > 1 && n % factor != 0) --factor;
    if (factor == 1) break;
    found.push_back(factor);
    n /= factor;
  }
  if (n > 1) found.push_back(n);
  return found;
}

// Place v of a binomial tree sends to v + 1, v + 2, v + 4, ... below its lowest bit. Root i's tree
// is that, turned round by i.
void add_binomial_trees(Level* level) {
  const int32_t n = level->members();
  std::map<std::pair<int32_t, int32_t>, int32_t> numbers;
  const auto edge = [&](int32_t from, int32_t to) {
    const auto [at, is_new] =
        numbers.try_emplace({from, to}, static_cast<int32_t>(level->edges.size()));
    if (is_new) level->edges.push_back({from, to});
    return at->second;
  };
  for (int32_t root = 0; root < n; ++root) {
    verify::LevelTree tree{.root = root, .edges = {}};
    for (int32_t place = 0; place < n; ++place)
      for (int32_t step = 1; place + step < n && (place == 0 || step < (place & -place)); step *= 2)
        tree.edges.push_back(edge((root + place) % n, (root + place + step) % n));
    level->trees.push_back(std::move(tree));
  }
}

// False when two members have no way.
bool add_ways(const Router& router, Level* level) {
  for (const auto& group : level->groups) {
    std::vector<std::vector<verify::Hop>> hops(level->edges.size());
    std::map<int32_t, std::vector<size_t>> by_source;
    for (size_t i = 0; i < level->edges.size(); ++i) by_source[level->edges[i].from].push_back(i);
    for (const auto& [member, edges] : by_source) {
      const Ways ways = router.ways_from(group[member], 1);
      for (const size_t edge : edges) {
        const int32_t to = group[level->edges[edge].to];
        if (ways.nodes[to].hops < 0) return false;
        hops[edge] = router.wire_to(ways, to, to).hops;
      }
    }
    level->hops.push_back(std::move(hops));
  }
  return true;
}

// Machines in a row, some of the digits of whose numbers have been dealt with: the next level joins
// those that differ in the next digit alone. rows[i]: terminals of equal place, of what is row i.
std::vector<Groups> groups_by_digits(const Groups& rows) {
  std::vector<Groups> levels;
  const auto n = static_cast<int32_t>(rows.front().size());
  int32_t stride = n;
  for (const int32_t factor : factors(n)) {
    const int32_t block = stride;
    stride /= factor;
    Groups groups;
    for (const auto& row : rows)
      for (int32_t first = 0; first < n; ++first) {
        if (first % block >= stride) continue;  // not the first of its group
        std::vector<int32_t> group;
        group.reserve(static_cast<size_t>(factor));
        for (int32_t i = 0; i < factor; ++i) group.push_back(row[first + i * stride]);
        groups.push_back(std::move(group));
      }
    levels.push_back(std::move(groups));
  }
  return levels;
}

// Terminals that are in equal places of different leaves, and of the machines of one leaf.
Groups across_leaves(const Cluster& cluster) {
  Groups rows;
  for (int32_t machine = 0; machine < cluster.n_machines(); ++machine)
    for (int32_t place = 0; place < cluster.n_places(); ++place) {
      std::vector<int32_t> row;
      for (const auto& leaf : cluster.leaves) row.push_back(leaf[machine][place]);
      rows.push_back(std::move(row));
    }
  return rows;
}
Groups within_leaves(const Cluster& cluster) {
  Groups rows;
  for (const auto& leaf : cluster.leaves)
    for (int32_t place = 0; place < cluster.n_places(); ++place) {
      std::vector<int32_t> row;
      row.reserve(leaf.size());
      for (const auto& machine : leaf) row.push_back(machine[place]);
      rows.push_back(std::move(row));
    }
  return rows;
}

bool add_levels(const Groups& rows, const Router& router, Hierarchy* hierarchy) {
  if (rows.front().size() < 2) return true;
  for (Groups& groups : groups_by_digits(rows)) {
    Level level;
    level.groups = std::move(groups);
    add_binomial_trees(&level);
    if (!add_ways(router, &level)) return false;
    hierarchy->levels.push_back(std::move(level));
  }
  return true;
}

using HopNumbers = std::map<std::pair<int32_t, bool>, size_t>;  // arcs, by hop
HopNumbers arcs_by_hop(const FlowNetwork& network) {
  HopNumbers numbers;
  for (size_t arc = 0; arc < network.arcs.size(); ++arc)
    numbers[{network.arcs[arc].hop.link, network.arcs[arc].hop.reverse}] = arc;
  return numbers;
}

// The forest of the first machine, and the same ways in all others.
bool add_machine_level(const topology::Graph& graph, const FlowNetwork& network,
                       const Cluster& cluster, Hierarchy* hierarchy) {
  constexpr double kShare = 0.999;  // of a machine's own bound
  if (cluster.n_places() < 2) return true;
  const std::vector<FlowNetwork> machines = machine_networks(graph, network, cluster);
  const FlowNetwork& model = machines.front();
  if (!std::ranges::all_of(machines, [&](const auto& m) { return are_alike(m, model); }))
    return false;
  const Forest forest = forest_within(model, all_gather_bound(model, graph).inverse_rate, kShare);
  Level level;
  for (const Wire& wire : forest.wires.wires) level.edges.push_back({wire.from, wire.to});
  for (const Tree& tree : forest.trees)
    for (int64_t copy = 0; copy < tree.copies; ++copy)
      level.trees.push_back({tree.root, tree.wires});
  const HopNumbers numbers = arcs_by_hop(model);
  for (const auto& leaf : cluster.leaves)
    level.groups.insert(level.groups.end(), leaf.begin(), leaf.end());
  for (const FlowNetwork& machine : machines) {
    std::vector<std::vector<verify::Hop>> hops;
    for (const Wire& wire : forest.wires.wires) {
      hops.emplace_back();
      for (const verify::Hop& hop : wire.hops)
        hops.back().push_back(machine.arcs[numbers.at({hop.link, hop.reverse})].hop);
    }
    level.hops.push_back(std::move(hops));
  }
  hierarchy->levels.push_back(std::move(level));
  return true;
}

// A member's place in its group.
struct Seat {
  size_t group = 0;
  int32_t member = 0;
};
std::vector<Seat> seats_of(const Level& level, size_t n_ranks) {
  std::vector<Seat> seats(n_ranks);
  for (size_t group = 0; group < level.groups.size(); ++group)
    for (size_t member = 0; member < level.groups[group].size(); ++member)
      seats[level.groups[group][member]] = {group, static_cast<int32_t>(member)};
  return seats;
}

// Levels made ready for composition.
struct LevelIndex {
  const Level* level;
  int32_t first_wire;                                        // of group 0, edge 0
  std::vector<Seat> seats;                                   // by rank
  std::vector<std::vector<const verify::LevelTree*>> trees;  // by member
};

std::vector<LevelIndex> index_levels(const Hierarchy& hierarchy, Wires* wires) {
  std::vector<LevelIndex> indices;
  for (const Level& level : hierarchy.levels) {
    LevelIndex index{
        &level, static_cast<int32_t>(wires->wires.size()),
        seats_of(level, hierarchy.node_of_rank.size()),
        std::vector<std::vector<const verify::LevelTree*>>(static_cast<size_t>(level.members()))};
    for (const verify::LevelTree& tree : level.trees) index.trees[tree.root].push_back(&tree);
    for (size_t group = 0; group < level.groups.size(); ++group)
      for (size_t edge = 0; edge < level.edges.size(); ++edge)
        wires->wires.push_back({.from = level.groups[group][level.edges[edge].from],
                                .to = level.groups[group][level.edges[edge].to],
                                .amount = 1,
                                .hops = level.hops[group][edge]});
    indices.push_back(std::move(index));
  }
  return indices;
}

// From the root over its group, from each of those over its own group of the next level, and so on.
Tree compose(const std::vector<LevelIndex>& levels, int32_t root, int64_t chunk) {
  Tree tree{.root = root, .copies = 1, .wires = {}};
  std::vector<int32_t> have{root};
  for (const LevelIndex& index : levels) {
    const size_t before = have.size();
    for (size_t i = 0; i < before; ++i) {
      const Seat& seat = index.seats[have[i]];
      const auto& trees = index.trees[seat.member];
      const verify::LevelTree& branch = *trees[static_cast<size_t>(chunk) % trees.size()];
      const auto first = static_cast<int32_t>(seat.group * index.level->edges.size());
      for (const int32_t edge : branch.edges) {
        tree.wires.push_back(index.first_wire + first + edge);
        have.push_back(index.level->groups[seat.group][index.level->edges[edge].to]);
      }
    }
  }
  return tree;
}

}  // namespace

std::optional<Hierarchy> hierarchy_for(const topology::Graph& graph, const FlowNetwork& network) {
  const std::optional<Cluster> cluster = cluster_of(graph, network);
  if (!cluster) return std::nullopt;
  Hierarchy hierarchy;
  hierarchy.node_of_rank.assign(network.graph_node.begin(),
                                network.graph_node.begin() + network.n_terminals);
  const Router router(network);
  if (!add_levels(across_leaves(*cluster), router, &hierarchy)) return std::nullopt;
  if (!add_levels(within_leaves(*cluster), router, &hierarchy)) return std::nullopt;
  if (!add_machine_level(graph, network, *cluster, &hierarchy)) return std::nullopt;
  return hierarchy;
}

Forest forest_of(const Hierarchy& hierarchy, const FlowNetwork& network) {
  const int64_t chunks = verify::chunks_per_rank(hierarchy);
  Forest forest{
      .trees_per_terminal = chunks,
      .inverse_rate = {},
      .wires = {.n_nodes = network.n_terminals, .n_terminals = network.n_terminals, .wires = {}},
      .trees = {}};
  const std::vector<LevelIndex> levels = index_levels(hierarchy, &forest.wires);
  for (int32_t root = 0; root < network.n_terminals; ++root)
    for (int64_t chunk = 0; chunk < chunks; ++chunk)
      forest.trees.push_back(compose(levels, root, chunk));
  return forest;
}

}  // namespace tutti::planner
