// SPDX-License-Identifier: Apache-2.0
// Merges the ways of a switch channel where its switches can, and counts what remains.
#include "src/verify/switch_tree.h"

#include <algorithm>
#include <map>
#include <tuple>
#include <utility>

#include <spdlog/fmt/fmt.h>

#include "src/base/error.h"
#include "src/plan/switch_channels.h"

namespace tutti::verify {
namespace {

using Kind = plan::SwitchChannel::Kind;
using plan::SwitchChannel;

// The ways from the rank outwards, or to the rank backwards, as far as they are alike.
class Trie {
 public:
  Trie(const SwitchChannel& entry, int32_t root_node, const topology::Graph& graph)
      : entry_(entry), graph_(graph) {
    nodes_.push_back({.at = root_node});
  }

  void add(const Route& route) {
    size_t at = 0;
    const size_t n = route.hops.size();
    for (size_t i = 0; i < n; ++i) {
      const bool out = entry_.kind == Kind::kMulticast;
      const Hop& hop = route.hops[out ? i : n - 1 - i];
      const topology::Link& link = graph_.links[hop.link];
      const auto [found, fresh] = children_.try_emplace({at, hop.link, hop.reverse}, nodes_.size());
      if (fresh)
        nodes_.push_back(
            {.parent = at, .at = out == hop.reverse ? link.from : link.to, .hop = hop});
      at = found->second;
    }
    ++nodes_[at].copies;
  }

  // Children come after their parents, so that going backwards each node knows its own.
  std::vector<Hop> hops() {
    std::vector<Hop> crossed;
    for (size_t i = nodes_.size() - 1; i > 0; --i) {
      const Node& node = nodes_[i];
      const int64_t copies = serves(graph_.nodes[node.at], entry_.kind) ? 1 : node.copies;
      crossed.insert(crossed.end(), static_cast<size_t>(copies), node.hop);
      nodes_[node.parent].copies += copies;
    }
    std::ranges::sort(crossed, {}, [](const Hop& hop) { return std::pair(hop.link, hop.reverse); });
    return crossed;
  }

 private:
  struct Node {
    size_t parent = 0;
    int32_t at = 0;      // node of the graph
    Hop hop;             // between the parent and this, as messages cross it
    int64_t copies = 0;  // of a message, that enter it from the parent, or leave it for the parent
  };
  const SwitchChannel entry_;
  const topology::Graph& graph_;
  std::vector<Node> nodes_;
  std::map<std::tuple<size_t, int32_t, bool>, size_t> children_;
};

// Which tree of the plan's a route belongs to.
class Membership {
 public:
  explicit Membership(const plan::Plan& plan) {
    for (size_t i = 0; i < plan.switch_channels.size(); ++i)
      number_.emplace(plan.switch_channels[i], i);
  }

  template <typename Visit>
  void visit(const Route& route, const Visit& visit) const {
    for (const SwitchChannel& entry :
         {SwitchChannel{route.source_rank, route.channel, Kind::kMulticast},
          SwitchChannel{route.sink_rank, route.channel, Kind::kReduce}})
      if (const auto found = number_.find(entry); found != number_.end()) visit(found->second);
  }

 private:
  std::map<SwitchChannel, size_t> number_;
};

bool passes_a_server(const Route& route, Kind kind, const topology::Graph& graph) {
  for (size_t i = 0; i + 1 < route.hops.size(); ++i) {
    const topology::Link& link = graph.links[route.hops[i].link];
    if (serves(graph.nodes[route.hops[i].reverse ? link.from : link.to], kind)) return true;
  }
  return false;
}

std::vector<SwitchTree> without_hops(const plan::Plan& plan, const Placement& placement) {
  std::vector<SwitchTree> trees;
  for (const SwitchChannel& entry : plan.switch_channels) trees.push_back({.entry = entry});
  const Membership membership(plan);
  for (uint32_t i = 0; i < placement.routes.size(); ++i) {
    const Route& route = placement.routes[i];
    membership.visit(route, [&](size_t tree) {
      if (route.source_rank == route.sink_rank)
        trees[tree].loop = i;
      else
        trees[tree].connections.push_back(i);
    });
  }
  return trees;
}

}  // namespace

bool serves(const topology::Node& node, Kind kind) {
  return kind == Kind::kMulticast ? node.attributes.multicasts : node.attributes.reduces;
}

bool SwitchTree::crosses_a_link_twice() const {
  return std::ranges::adjacent_find(hops) != hops.end();
}

std::vector<SwitchTree> switch_trees(const plan::Plan& plan, const Placement& placement,
                                     const topology::Graph& graph) {
  if (plan.switch_channels.empty()) return {};
  std::vector<SwitchTree> trees = without_hops(plan, placement);
  for (SwitchTree& tree : trees) {
    Trie trie(tree.entry, placement.node_of_rank[tree.entry.rank], graph);
    trie.add(placement.routes[tree.loop]);
    for (const uint32_t route : tree.connections) trie.add(placement.routes[route]);
    tree.hops = trie.hops();
  }
  return trees;
}

void check_loops(const plan::Plan& plan, const Placement& placement, const topology::Graph& graph) {
  if (plan.switch_channels.empty()) return;
  for (const SwitchTree& tree : without_hops(plan, placement)) {
    const auto served = [&](uint32_t route) {
      return passes_a_server(placement.routes[route], tree.entry.kind, graph);
    };
    if (served(tree.loop) || std::ranges::none_of(tree.connections, served)) continue;
    throw Error(StatusCode::kInvalidArgument,
                fmt::format("placement: {}: expected the rank's own way to lead to a switch that "
                            "{} and back, as its peers' ways pass one",
                            plan::to_text(tree.entry),
                            tree.entry.kind == Kind::kMulticast ? "multicasts" : "reduces"));
  }
}

}  // namespace tutti::verify
