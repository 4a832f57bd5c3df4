// SPDX-License-Identifier: Apache-2.0
// Finds rings one after the other, and lays double binary trees out.
#include "src/planner/forest/rings.h"

#include <algorithm>
#include <array>
#include <map>
#include <numeric>
#include <utility>

#include "src/planner/algorithms/double_tree.h"
#include "src/planner/forest/router.h"
#include "src/planner/hierarchy/machines.h"

namespace tutti::planner {
namespace {

// A ring's wires, each from where the one before ends; `rate` of their capacity is the ring's.
struct Ring {
  std::vector<Wire> wires;
  int64_t rate = 0;
};

class RingSearch {
 public:
  RingSearch(int32_t n_terminals, Router* router, int64_t rate)
      : router_(*router), rate_(rate), n_(n_terminals) {}

  // Takes the ring's capacity from the router when there is one.
  std::optional<Ring> run() {
    for (start_ = 0; start_ < n_; ++start_) {
      effort_ = kEffortPerTerminal * n_;
      visited_.assign(static_cast<size_t>(n_), false);
      visited_[start_] = true;
      find_ways_back();
      if (last_stops_ > 0 && extend(start_)) return Ring{std::move(wires_), rate_};
    }
    return std::nullopt;
  }

 private:
  static constexpr int64_t kEffortPerTerminal = 16;

  void find_ways_back() {
    leads_back_.assign(static_cast<size_t>(n_), false);
    last_stops_ = 0;
    for (int32_t t = 0; t < n_; ++t) {
      if (t == start_) continue;
      leads_back_[t] = router_.ways_from(t, rate_).nodes[start_].hops > 0;
      last_stops_ += leads_back_[t] ? 1 : 0;
    }
  }

  bool extend(int32_t at) {
    if (effort_-- <= 0) return false;
    const Ways ways = router_.ways_from(at, rate_);
    if (static_cast<int32_t>(wires_.size()) == n_ - 1) return close(ways);
    for (const int32_t next : candidates(ways)) {
      const bool is_last_stop = leads_back_[next];
      // The last terminal that leads back is kept for the end.
      const bool ends = static_cast<int32_t>(wires_.size()) == n_ - 2;
      if (is_last_stop && last_stops_ == 1 && !ends) continue;
      visited_[next] = true;
      last_stops_ -= is_last_stop ? 1 : 0;
      push(router_.wire_to(ways, next));
      if (extend(next)) return true;
      pop();
      last_stops_ += is_last_stop ? 1 : 0;
      visited_[next] = false;
    }
    return false;
  }

  bool close(const Ways& ways) {
    if (ways.nodes[start_].hops <= 0) return false;
    push(router_.wire_to(ways, start_));
    return true;
  }

  // Near ones first, then in the order of terminals from the present one on.
  std::vector<int32_t> candidates(const Ways& ways) const {
    std::vector<int32_t> found;
    for (int32_t step = 1; step < n_; ++step) {
      const int32_t t = (ways.from + step) % n_;
      if (!visited_[t] && ways.nodes[t].hops > 0) found.push_back(t);
    }
    std::ranges::stable_sort(found, {}, [&](int32_t t) { return ways.nodes[t].hops; });
    return found;
  }

  void push(Wire wire) {
    router_.take(wire, rate_);
    wires_.push_back(std::move(wire));
  }
  void pop() {
    router_.take(wires_.back(), -rate_);
    wires_.pop_back();
  }

  Router& router_;
  int64_t rate_;
  int32_t n_;
  int32_t start_ = 0;
  int64_t effort_ = 0;
  int32_t last_stops_ = 0;  // terminals not visited from which a way leads back to the start
  std::vector<bool> leads_back_;
  std::vector<bool> visited_;
  std::vector<Wire> wires_;
};

std::vector<Ring> find_rings(const FlowNetwork& network, int32_t most_rings) {
  Router router(network);
  std::vector<Ring> rings;
  std::vector<int64_t> rates = router.amounts_left();
  while (!rates.empty() && static_cast<int32_t>(rings.size()) < most_rings) {
    std::optional<Ring> ring = RingSearch(network.n_terminals, &router, rates.front()).run();
    if (!ring) {
      rates.erase(rates.begin());
      continue;
    }
    rings.push_back(std::move(*ring));
    // What is left over may be less than any amount so far, but rates never rise.
    const int64_t rate = rings.back().rate;
    rates = router.amounts_left();
    std::erase_if(rates, [rate](int64_t amount) { return amount > rate; });
  }
  return rings;
}

// From every terminal along the ring to the one before it.
void add_paths(const Ring& ring, int64_t copies, Forest* forest) {
  const auto n = static_cast<int32_t>(ring.wires.size());
  const auto first = static_cast<int32_t>(forest->wires.wires.size());
  for (const Wire& wire : ring.wires) forest->wires.wires.push_back(wire);
  for (int32_t start = 0; start < n; ++start) {
    Tree tree{.root = ring.wires[start].from, .copies = copies, .wires = {}};
    for (int32_t step = 0; step < n - 1; ++step) tree.wires.push_back(first + (start + step) % n);
    forest->trees.push_back(std::move(tree));
  }
}

// The narrowest ring has one tree per terminal, the others as many as go into their rates.
Forest forest_of(const FlowNetwork& network, const std::vector<Ring>& rings) {
  constexpr int64_t kMostTrees = 64;
  int64_t total = 0;
  int64_t quantum = 0;
  for (const Ring& ring : rings) {
    total += ring.rate;
    quantum = std::gcd(quantum, ring.rate);
  }
  if (total / quantum > kMostTrees) quantum = rings.back().rate;
  Forest forest{
      .trees_per_terminal = 0,
      .inverse_rate = {},
      .wires = {.n_nodes = network.n_terminals, .n_terminals = network.n_terminals, .wires = {}},
      .trees = {}};
  for (const Ring& ring : rings) {
    add_paths(ring, ring.rate / quantum, &forest);
    forest.trees_per_terminal += ring.rate / quantum;
  }
  std::ranges::stable_sort(forest.trees, {}, &Tree::root);
  forest.inverse_rate = busiest_time(network, forest, Rational::of(1, forest.trees_per_terminal));
  return forest;
}

// Terminals, by the machine that they are in.
std::vector<std::vector<int32_t>> by_machine(const FlowNetwork& network,
                                             const topology::Graph& graph) {
  std::map<int32_t, std::vector<int32_t>> machines;
  for (int32_t t = 0; t < network.n_terminals; ++t)
    machines[machine_of(graph, network.graph_node[t])].push_back(t);
  std::vector<std::vector<int32_t>> groups;
  groups.reserve(machines.size());
  for (auto& [machine, terminals] : machines) groups.push_back(std::move(terminals));
  return groups;
}

// One tree in the making; gives up when two terminals that it has to join have no way.
class TreeGrowth {
 public:
  TreeGrowth(const Router& router, Forest* forest, int32_t root)
      : router_(router), forest_(*forest), tree_{.root = root, .copies = 1, .wires = {}} {}

  bool join(int32_t from, int32_t to) {
    const Ways ways = router_.ways_from(from, 1);
    if (ways.nodes[to].hops < 0) return false;
    tree_.wires.push_back(static_cast<int32_t>(forest_.wires.wires.size()));
    forest_.wires.wires.push_back(router_.wire_to(ways, to));
    return true;
  }

  // From `leader` to all others, near ones first, through each other where it must be.
  bool spread(int32_t leader, std::vector<int32_t> others) {
    std::vector<int32_t> reached{leader};
    for (size_t i = 0; i < reached.size() && !others.empty(); ++i)
      std::erase_if(others, [&](int32_t t) {
        if (t != leader && !join(reached[i], t)) return false;
        if (t != leader) reached.push_back(t);
        return true;
      });
    return others.empty();
  }
  void finish() { forest_.trees.push_back(std::move(tree_)); }

 private:
  const Router& router_;
  Forest& forest_;
  Tree tree_;
};

// The same binary tree over the leaders of all groups, and from each leader into its group.
bool add_tree(const BinaryTree& shape, const std::vector<std::vector<int32_t>>& groups,
              size_t position, const Router& router, Forest* forest) {
  const auto leader = [&](int32_t group) { return groups[static_cast<size_t>(group)][position]; };
  const auto root =
      static_cast<int32_t>(std::ranges::find(shape, kNoParent, &TreeNode::parent) - shape.begin());
  const size_t wires_before = forest->wires.wires.size();
  TreeGrowth growth(router, forest, leader(root));
  std::vector<int32_t> order{root};
  bool whole = true;
  for (size_t i = 0; i < order.size() && whole; ++i) {
    const int32_t group = order[i];
    for (const int32_t child : shape[static_cast<size_t>(group)].children) {
      whole = whole && growth.join(leader(group), leader(child));
      order.push_back(child);
    }
    whole = whole && growth.spread(leader(group), groups[static_cast<size_t>(group)]);
  }
  if (whole)
    growth.finish();
  else
    forest->wires.wires.resize(wires_before);
  return whole;
}

}  // namespace

std::optional<Forest> ring_forest(const FlowNetwork& network, int32_t most_rings) {
  if (network.n_terminals < 2) return std::nullopt;
  const std::vector<Ring> rings = find_rings(network, most_rings);
  if (rings.empty()) return std::nullopt;
  return forest_of(network, rings);
}

std::optional<Forest> double_tree_forest(const FlowNetwork& network, const topology::Graph& graph) {
  const int32_t n = network.n_terminals;
  if (n < 2) return std::nullopt;
  std::vector<std::vector<int32_t>> groups = by_machine(network, graph);
  const bool one_machine = groups.size() == 1;
  if (one_machine) {
    groups.clear();
    for (int32_t t = 0; t < n; ++t) groups.push_back({t});
  }
  const Router router(network);
  Forest forest{.trees_per_terminal = 1,
                .inverse_rate = {},
                .wires = {.n_nodes = n, .n_terminals = n, .wires = {}},
                .trees = {}};
  const auto shapes = double_tree(static_cast<int32_t>(groups.size()));
  const auto smallest =
      std::ranges::min_element(groups, {}, [](const auto& g) { return g.size(); });
  for (size_t position = 0; position < smallest->size(); ++position)
    for (const BinaryTree& shape : shapes) add_tree(shape, groups, position, router, &forest);
  if (forest.trees.empty()) return std::nullopt;
  std::ranges::stable_sort(forest.trees, {}, &Tree::root);
  forest.inverse_rate =
      busiest_time(network, forest, Rational::of(n, static_cast<int64_t>(forest.trees.size())));
  return forest;
}

Rational busiest_time(const FlowNetwork& network, const Forest& forest,
                      const Rational& units_per_tree) {
  std::map<std::pair<int32_t, bool>, int64_t> trees;  // by hop
  for (const Tree& tree : forest.trees)
    for (const int32_t wire : tree.wires)
      for (const verify::Hop& hop : forest.wires.wires[wire].hops)
        trees[{hop.link, hop.reverse}] += tree.copies;
  Rational busiest;
  for (const FlowNetwork::Arc& arc : network.arcs) {
    const auto found = trees.find({arc.hop.link, arc.hop.reverse});
    if (found == trees.end()) continue;
    busiest = std::max(busiest, Rational::of(found->second * units_per_tree.numerator,
                                             arc.capacity * units_per_tree.denominator));
  }
  return busiest;
}

}  // namespace tutti::planner
