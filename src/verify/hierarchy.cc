// SPDX-License-Identifier: Apache-2.0
// Proves hierarchies level by level.
#include "src/verify/hierarchy.h"

#include <algorithm>
#include <bit>
#include <numeric>
#include <optional>

#include <spdlog/fmt/fmt.h>

#include "src/base/error.h"
#include "src/verify/bound.h"

namespace tutti::verify {
namespace {

using plan::Collective;
using Reason = std::optional<std::string>;

// Which ranks' data each rank has; one bit for each pair.
class Holdings {
 public:
  explicit Holdings(int32_t n_ranks)
      : words_((static_cast<size_t>(n_ranks) + 63) / 64),
        bits_(words_ * static_cast<size_t>(n_ranks), 0) {
    for (int32_t rank = 0; rank < n_ranks; ++rank) row(rank)[rank / 64] |= bit(rank);
  }

  // All members get what any of them has; false when two of them have the same data.
  bool unite(const std::vector<int32_t>& members) {
    std::vector<uint64_t> all(words_, 0);
    for (const int32_t rank : members) {
      const uint64_t* const have = row(rank);
      for (size_t word = 0; word < words_; ++word) {
        if ((all[word] & have[word]) != 0) return false;
        all[word] |= have[word];
      }
    }
    for (const int32_t rank : members) std::ranges::copy(all, row(rank));
    return true;
  }

  int64_t count(int32_t rank) {
    int64_t ranks = 0;
    for (size_t word = 0; word < words_; ++word) ranks += std::popcount(row(rank)[word]);
    return ranks;
  }

 private:
  static uint64_t bit(int32_t rank) { return uint64_t{1} << (rank % 64); }
  uint64_t* row(int32_t rank) { return bits_.data() + static_cast<size_t>(rank) * words_; }

  size_t words_;
  std::vector<uint64_t> bits_;
};

// Trees that each member has; 0 when members have different numbers.
int64_t trees_per_member(const Level& level) {
  std::vector<int64_t> count(static_cast<size_t>(level.members()), 0);
  for (const LevelTree& tree : level.trees)
    if (tree.root >= 0 && tree.root < level.members()) ++count[tree.root];
  const bool even = std::ranges::all_of(count, [&](int64_t c) { return c == count.front(); });
  return even ? count.front() : 0;
}

Reason check_tree(const Level& level, size_t index) {
  const LevelTree& tree = level.trees[index];
  std::vector<bool> reached(static_cast<size_t>(level.members()), false);
  if (tree.root < 0 || tree.root >= level.members())
    return fmt::format("tree {}: root {} is no member", index, tree.root);
  reached[tree.root] = true;
  for (const int32_t edge : tree.edges) {
    if (edge < 0 || static_cast<size_t>(edge) >= level.edges.size())
      return fmt::format("tree {}: there is no edge {}", index, edge);
    const auto [from, to] = level.edges[edge];
    if (!reached[from]) return fmt::format("tree {}: sends from member {} too early", index, from);
    if (reached[to]) return fmt::format("tree {}: reaches member {} twice", index, to);
    reached[to] = true;
  }
  const auto missing = std::ranges::find(reached, false);
  if (missing == reached.end()) return std::nullopt;
  return fmt::format("tree {}: does not reach member {}", index, missing - reached.begin());
}

Reason check_groups(const Level& level, int32_t n_ranks) {
  std::vector<bool> seen(static_cast<size_t>(n_ranks), false);
  int64_t ranks = 0;
  for (const auto& group : level.groups) {
    if (static_cast<int32_t>(group.size()) != level.members())
      return fmt::format("expected groups of {}, got one of {}", level.members(), group.size());
    for (const int32_t rank : group) {
      if (rank < 0 || rank >= n_ranks || seen[rank])
        return fmt::format("rank {} is in two groups, or does not exist", rank);
      seen[rank] = true;
      ++ranks;
    }
  }
  if (ranks == n_ranks) return std::nullopt;
  return fmt::format("expected {} ranks in groups, got {}", n_ranks, ranks);
}

Reason check_way(const topology::Graph& graph, int32_t from, int32_t to,
                 const std::vector<Hop>& hops) {
  int32_t at = from;
  for (const Hop& hop : hops) {
    if (hop.link < 0 || static_cast<size_t>(hop.link) >= graph.links.size())
      return fmt::format("there is no link {}", hop.link);
    const topology::Link& link = graph.links[hop.link];
    if ((hop.reverse ? link.to : link.from) != at)
      return fmt::format("a way from {} leaves it at link {}", graph.nodes[from].id, hop.link);
    if ((hop.reverse ? link.reverse_mbit_s : link.forward_mbit_s) <= 0)
      return fmt::format("link {} is down, or its capacity unknown", hop.link);
    at = hop.reverse ? link.from : link.to;
  }
  if (at == to) return std::nullopt;
  return fmt::format("a way from {} ends at {} instead of {}", graph.nodes[from].id,
                     graph.nodes[at].id, graph.nodes[to].id);
}

Reason check_ways(const Hierarchy& hierarchy, const Level& level, const topology::Graph& graph) {
  if (level.hops.size() != level.groups.size()) return "expected ways for every group";
  for (size_t group = 0; group < level.groups.size(); ++group) {
    if (level.hops[group].size() != level.edges.size())
      return fmt::format("group {}: expected a way for every edge", group);
    for (size_t edge = 0; edge < level.edges.size(); ++edge) {
      const auto node = [&](int32_t member) {
        return hierarchy.node_of_rank[level.groups[group][member]];
      };
      const auto [from, to] = level.edges[edge];
      if (Reason why = check_way(graph, node(from), node(to), level.hops[group][edge]))
        return fmt::format("group {}: {}", group, *why);
    }
  }
  return std::nullopt;
}

Reason check_level(const Hierarchy& hierarchy, const Level& level, const topology::Graph& graph) {
  const auto n_ranks = static_cast<int32_t>(hierarchy.node_of_rank.size());
  if (level.groups.empty() || level.groups.front().empty()) return "expected groups of ranks";
  if (Reason why = check_groups(level, n_ranks)) return why;
  for (const auto& [from, to] : level.edges)
    if (std::min(from, to) < 0 || std::max(from, to) >= level.members())
      return fmt::format("an edge from member {} to {}: there are {}", from, to, level.members());
  if (trees_per_member(level) == 0) return "expected as many trees from every member";
  for (size_t tree = 0; tree < level.trees.size(); ++tree)
    if (Reason why = check_tree(level, tree)) return why;
  return check_ways(hierarchy, level, graph);
}

Reason check_gathering(const Hierarchy& hierarchy) {
  const auto n_ranks = static_cast<int32_t>(hierarchy.node_of_rank.size());
  Holdings holdings(n_ranks);
  for (size_t index = 0; index < hierarchy.levels.size(); ++index)
    for (const auto& group : hierarchy.levels[index].groups)
      if (!holdings.unite(group))
        return fmt::format("level {}: members of a group bring the same data", index);
  for (int32_t rank = 0; rank < n_ranks; ++rank)
    if (holdings.count(rank) != n_ranks)
      return fmt::format("rank {} ends with the data of {} ranks of {}", rank, holdings.count(rank),
                         n_ranks);
  return std::nullopt;
}

// One bit for each pair: 128 MiB.
constexpr size_t kMostRanks = size_t{1} << 15;

Reason check_nodes(const HierarchyCertificate& certificate) {
  const size_t n_ranks = certificate.hierarchy.node_of_rank.size();
  if (n_ranks < 2 || n_ranks > kMostRanks)
    return fmt::format("expected 2 to {} ranks, got {}", kMostRanks, n_ranks);
  const auto n_nodes = static_cast<int32_t>(certificate.graph.nodes.size());
  for (const int32_t node : certificate.hierarchy.node_of_rank)
    if (node < 0 || node >= n_nodes) return fmt::format("there is no node {}", node);
  return check_ranks_apart(certificate.hierarchy.node_of_rank, certificate.graph);
}

void find_plan_time(const HierarchyCertificate& certificate, HierarchyVerdict* verdict) {
  const int64_t chunks = chunks_per_rank(certificate.hierarchy);
  const bool gathers = certificate.collective != Collective::kReduceScatter;
  const bool scatters = certificate.collective != Collective::kAllGather;
  const auto take = [&](int64_t load, int64_t mbit_s, Hop hop) {
    if (load == 0) return;
    const Rational time = Rational::of_wide(load, Rational::Wide{chunks} * mbit_s);
    if (time > verdict->plan) verdict->busiest.clear();
    if (time >= verdict->plan) verdict->busiest.push_back(hop);
    verdict->plan = std::max(verdict->plan, time);
  };
  const std::vector<LinkLoad> loads = link_loads(certificate.hierarchy, certificate.graph, chunks);
  for (size_t i = 0; i < loads.size(); ++i) {
    const topology::Link& link = certificate.graph.links[i];
    const LinkLoad& out = loads[i];
    take((gathers ? out.forward_chunks : 0) + (scatters ? out.reverse_chunks : 0),
         link.forward_mbit_s, {static_cast<int32_t>(i), false});
    take((gathers ? out.reverse_chunks : 0) + (scatters ? out.forward_chunks : 0),
         link.reverse_mbit_s, {static_cast<int32_t>(i), true});
  }
}

Reason judge(const HierarchyCertificate& certificate, HierarchyVerdict* verdict) {
  topology::validate(certificate.graph);  // throws
  if (Reason why = check_nodes(certificate)) return why;
  const Hierarchy& hierarchy = certificate.hierarchy;
  for (size_t index = 0; index < hierarchy.levels.size(); ++index)
    if (Reason why = check_level(hierarchy, hierarchy.levels[index], certificate.graph))
      return fmt::format("level {}: {}", index, *why);
  if (Reason why = check_gathering(hierarchy)) return why;
  if (Reason why = find_bound({.collective = certificate.collective,
                               .graph = &certificate.graph,
                               .node_of_rank = &hierarchy.node_of_rank,
                               .parts = &certificate.parts},
                              &verdict->bound))
    return why;
  find_plan_time(certificate, verdict);
  return compare_times(verdict);
}

}  // namespace

HierarchyVerdict check_hierarchy(const HierarchyCertificate& certificate) {
  return verdict_of<HierarchyVerdict>(
      [&](HierarchyVerdict* verdict) { return judge(certificate, verdict); });
}

std::vector<LinkLoad> link_loads(const Hierarchy& hierarchy, const topology::Graph& graph,
                                 int64_t chunks) {
  std::vector<LinkLoad> loads(graph.links.size());
  int64_t ranks = 1;  // whose data a member brings to the level
  for (const Level& level : hierarchy.levels) {
    const int64_t per_tree = ranks * chunks / trees_per_member(level);
    std::vector<int64_t> crossing(level.edges.size(), 0);
    for (const LevelTree& tree : level.trees)
      for (const int32_t edge : tree.edges) crossing[edge] += per_tree;
    for (const auto& ways : level.hops)
      for (size_t edge = 0; edge < ways.size(); ++edge)
        for (const Hop& hop : ways[edge])
          (hop.reverse ? loads[hop.link].reverse_chunks : loads[hop.link].forward_chunks) +=
              crossing[edge];
    ranks *= level.members();
  }
  return loads;
}

int64_t chunks_per_rank(const Hierarchy& hierarchy) {
  int64_t chunks = 1;
  for (const Level& level : hierarchy.levels) chunks = std::lcm(chunks, trees_per_member(level));
  return chunks;
}

}  // namespace tutti::verify
