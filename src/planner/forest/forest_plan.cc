// SPDX-License-Identifier: Apache-2.0
// Writes the steps of a forest's trees into lanes.
#include "src/planner/forest/forest_plan.h"

#include <algorithm>
#include <numeric>
#include <tuple>
#include <utility>
#include <vector>

#include "src/planner/forest/channels.h"
#include "src/verify/verifier.h"

namespace tutti::planner {
namespace {

using plan::Buffer;
using plan::Collective;
using plan::Operand;

constexpr int32_t kTilesInFlight = 8;
constexpr int32_t kSlots = 16;  // least of a connection; levels pile up to so many messages

// The lane of a rank and a group, made on first use.
class Lanes {
 public:
  Lanes(plan::Plan* plan, const PlacedForest& forest) : plan_(plan) {
    const int32_t groups = forest.trees.back().group + 1;
    lane_.assign(plan->ranks.size(), std::vector<int32_t>(static_cast<size_t>(groups), -1));
  }

  // Appends the step and says where it is.
  plan::Wait add(int32_t rank, int32_t group, plan::Step step) {
    int32_t& lane = lane_[rank][group];
    auto& lanes = plan_->ranks[rank].lanes;
    if (lane < 0) {
      lane = static_cast<int32_t>(lanes.size());
      lanes.emplace_back();
    }
    auto& steps = lanes[lane].steps;
    steps.push_back(std::move(step));
    return {static_cast<uint32_t>(lane), static_cast<uint32_t>(steps.size() - 1)};
  }

 private:
  plan::Plan* plan_;
  std::vector<std::vector<int32_t>> lane_;  // by rank and group
};

// A step of one tree at one terminal.
struct Visit {
  const PlacedTree* tree;
  int32_t terminal;
};

// The order in which the lanes of a group do their steps. Either keeps a step behind those that
// it waits for, wherever those are.
enum class Order : uint8_t {
  kByLevel,  // everybody's first level of all trees, then the second, ...: nobody waits long, but
             // messages pile up in slots
  kByTree,   // tree by tree: one slot is enough
};

std::vector<Visit> visits(const PlacedForest& forest, Flow flow, Order order) {
  std::vector<Visit> all;
  const auto by_level = [flow](const Visit& visit) {
    const int32_t depth = visit.tree->depth[visit.terminal];
    return flow == Flow::kOut ? depth : -depth;
  };
  for (const PlacedTree& tree : forest.trees) {
    const size_t begin = all.size();
    for (int32_t t = 0; t < static_cast<int32_t>(tree.parent.size()); ++t)
      all.push_back({&tree, t});
    if (order == Order::kByTree)
      std::ranges::stable_sort(all.begin() + static_cast<std::ptrdiff_t>(begin), all.end(), {},
                               by_level);
  }
  if (order == Order::kByLevel) std::ranges::stable_sort(all, {}, by_level);
  return all;
}

class Writer {
 public:
  Writer(const char* algorithm, const plan::Shape& shape, Order order) : order_(order) {
    plan_.algorithm = algorithm;
    plan_.shape = shape;
    plan_.slots = kSlots;
    plan_.tiles_in_flight = kTilesInFlight;
    plan_.ranks.resize(static_cast<size_t>(shape.n_ranks));
  }

  // Everyone's contribution to a root's chunks goes up the trees.
  void reduce(const PlacedForest& forest) {
    Lanes lanes(&plan_, forest);
    for (const auto& [tree, rank] : visits(forest, Flow::kIn, order_)) {
      const int32_t extent = tree->extent;
      plan::Step step{.sources = contributions(*tree, rank), .extent = extent};
      if (rank == tree->root) {
        step.sinks.push_back(chunk(rank, Buffer::kOutput, extent));
        step.post = true;
      } else {
        step.sinks.push_back(Operand::peer(tree->parent[rank], tree->channel[rank]));
      }
      const plan::Wait at = lanes.add(rank, tree->group, std::move(step));
      if (rank == tree->root) sums_.emplace_back(extent, at);
    }
    std::ranges::sort(sums_, {}, &std::pair<int32_t, plan::Wait>::first);
  }

  // A root's chunks go down the trees, from its input, or from the sums that reduce() has made.
  void gather(const PlacedForest& forest) {
    Lanes lanes(&plan_, forest);
    for (const auto& [tree, rank] : visits(forest, Flow::kOut, order_)) {
      const int32_t extent = tree->extent;
      plan::Step step{.extent = extent};
      for (const int32_t child : tree->children[rank])
        step.sinks.push_back(Operand::peer(child, tree->channel[child]));
      if (rank != tree->root) {
        step.sources.push_back(Operand::peer(tree->parent[rank], tree->channel[rank]));
      } else if (sums_.empty()) {
        step.sources.push_back(chunk(rank, Buffer::kInput, extent));
      } else {
        step.sources.push_back(chunk(rank, Buffer::kOutput, extent));
        step.waits.push_back(sum_of(extent));
      }
      if (rank != tree->root || sums_.empty())
        step.sinks.insert(step.sinks.begin(), chunk(rank, Buffer::kOutput, extent));
      lanes.add(rank, tree->group, std::move(step));
    }
  }

  plan::Plan finish(int32_t channels) {
    plan_.channels = channels;
    return std::move(plan_);
  }

 private:
  Operand chunk(int32_t rank, Buffer buffer, int32_t extent, bool pre = false) const {
    const int32_t per_block = plan_.shape.chunks_per_block;
    const int32_t position = plan::position_of(plan_.shape, rank, buffer, extent / per_block);
    return Operand::chunk(buffer, position * per_block + extent % per_block, pre);
  }

  // By rank, this rank's own in its place.
  std::vector<Operand> contributions(const PlacedTree& tree, int32_t rank) const {
    const Operand own = chunk(rank, Buffer::kInput, tree.extent, true);
    std::vector<Operand> sources;
    bool own_is_in = false;
    for (const int32_t child : tree.children[rank]) {
      if (child > rank && !own_is_in) {
        sources.push_back(own);
        own_is_in = true;
      }
      sources.push_back(Operand::peer(child, tree.channel[child]));
    }
    if (!own_is_in) sources.push_back(own);
    return sources;
  }

  plan::Wait sum_of(int32_t extent) const {
    return std::ranges::lower_bound(sums_, extent, {}, &std::pair<int32_t, plan::Wait>::first)
        ->second;
  }

  Order order_;
  plan::Plan plan_;
  std::vector<std::pair<int32_t, plan::Wait>> sums_;  // where each extent's sum is made; by extent
};

// The trees of both directions, placed; `up` has none for AllGather, `down` none for ReduceScatter.
struct Trees {
  PlacedForest up;
  PlacedForest down;
};

// In at most so many groups of either direction.
Trees place(Collective collective, const Forests& forests, int32_t groups, ConnectionTable* table) {
  const bool in = collective != Collective::kAllGather;
  const bool out = collective != Collective::kReduceScatter;
  int64_t share = 0;
  if (in) share = std::gcd(share, common_share(*forests.scatter));
  if (out) share = std::gcd(share, common_share(*forests.gather));
  Trees trees;
  if (in) trees.up = place_trees(*forests.scatter, {Flow::kIn, 0, groups}, share, table);
  if (out) trees.down = place_trees(*forests.gather, {Flow::kOut, groups, groups}, share, table);
  return trees;
}

// Trees that share a lane wait for each other, and trees in many lanes need many connections: as
// many lanes as the budget of both allows.
Trees place_within(Collective collective, const Forests& forests, const PlanBudget& budget,
                   ConnectionTable* table) {
  const int32_t sides = collective == Collective::kAllReduce ? 2 : 1;
  for (int32_t groups = std::max(1, budget.lanes / sides);; groups -= std::max(1, groups / 4)) {
    *table = ConnectionTable(budget.channels);
    Trees trees = place(collective, forests, groups, table);
    if (groups == 1 || table->channels() <= budget.channels) return trees;
  }
}

plan::Plan write(const char* algorithm, const plan::Shape& shape, const Trees& trees,
                 int32_t channels, Order order) {
  Writer writer(algorithm, shape, order);
  if (!trees.up.trees.empty()) writer.reduce(trees.up);
  if (!trees.down.trees.empty()) writer.gather(trees.down);
  return writer.finish(channels);
}

}  // namespace

PlacedPlan forest_plan(const char* algorithm, Collective collective, const Forests& forests,
                       const FlowNetwork& network, const PlanBudget& budget) {
  ConnectionTable table(budget.channels);
  const Trees trees = place_within(collective, forests, budget, &table);
  const int32_t n = network.n_terminals;
  const auto chunks =
      static_cast<int32_t>(std::max(trees.up.trees.size(), trees.down.trees.size()));
  const plan::Shape shape{
      .collective = collective,
      .n_ranks = n,
      .root = 0,
      .chunks_per_block = collective == Collective::kAllReduce ? chunks : chunks / n};
  PlacedPlan placed;
  placed.plan = write(algorithm, shape, trees, table.channels(), Order::kByLevel);
  if (!verify::verify(placed.plan).accepted)
    placed.plan = write(algorithm, shape, trees, table.channels(), Order::kByTree);
  placed.placement = {{network.graph_node.begin(), network.graph_node.begin() + n}, table.routes()};
  return placed;
}

bool passes_through_a_terminal(const verify::Placement& placement, const topology::Graph& graph) {
  std::vector<bool> is_terminal(graph.nodes.size(), false);
  for (const int32_t node : placement.node_of_rank) is_terminal[node] = true;
  return std::ranges::any_of(placement.routes, [&](const verify::Route& route) {
    for (size_t i = 0; i + 1 < route.hops.size(); ++i) {
      const topology::Link& link = graph.links[route.hops[i].link];
      if (is_terminal[route.hops[i].reverse ? link.from : link.to]) return true;
    }
    return false;
  });
}

}  // namespace tutti::planner
