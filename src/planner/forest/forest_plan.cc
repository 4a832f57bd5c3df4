// SPDX-License-Identifier: Apache-2.0
// Writes the steps of a forest's trees into lanes.
#include "src/planner/forest/forest_plan.h"

#include <algorithm>
#include <numeric>
#include <tuple>
#include <utility>
#include <vector>

#include "src/planner/forest/channels.h"

namespace tutti::planner {
namespace {

using plan::Buffer;
using plan::Collective;
using plan::Operand;

constexpr int32_t kTilesInFlight = 8;
constexpr int32_t kSlots = 8;

// The lane of a rank and a channel, made on first use.
class Lanes {
 public:
  Lanes(plan::Plan* plan, int32_t channels)
      : plan_(plan), lane_(plan->ranks.size(), std::vector<int32_t>(channels, -1)) {}

  // Appends the step and says where it is.
  plan::Wait add(int32_t rank, int32_t channel, plan::Step step) {
    int32_t& lane = lane_[rank][channel];
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
  std::vector<std::vector<int32_t>> lane_;  // by rank and channel
};

// A step of one tree at one terminal, in the order in which a channel's lanes do them: tree by
// tree, so that one slot is enough. What a step waits for is a step of the same tree.
struct Visit {
  const PlacedTree* tree;
  int32_t terminal;
};
std::vector<Visit> visits(const PlacedForest& forest, Flow flow) {
  std::vector<Visit> order;
  for (const PlacedTree& tree : forest.trees) {
    const size_t begin = order.size();
    for (int32_t t = 0; t < static_cast<int32_t>(tree.parent.size()); ++t)
      order.push_back({&tree, t});
    std::stable_sort(order.begin() + static_cast<std::ptrdiff_t>(begin), order.end(),
                     [flow](const Visit& a, const Visit& b) {
                       const int32_t depth_a = a.tree->depth[a.terminal];
                       const int32_t depth_b = b.tree->depth[b.terminal];
                       return flow == Flow::kOut ? depth_a < depth_b : depth_a > depth_b;
                     });
  }
  return order;
}

class Writer {
 public:
  Writer(const char* algorithm, const plan::Shape& shape) {
    plan_.algorithm = algorithm;
    plan_.shape = shape;
    plan_.slots = kSlots;
    plan_.tiles_in_flight = kTilesInFlight;
    plan_.ranks.resize(static_cast<size_t>(shape.n_ranks));
  }

  // Everyone's contribution to a root's chunks goes up the trees.
  void reduce(const PlacedForest& forest, int32_t first_channel) {
    Lanes lanes(&plan_, forest.channels);
    for (const auto& [tree, rank] : visits(forest, Flow::kIn)) {
      const int32_t extent = tree->extent;
      const int32_t channel = first_channel + tree->channel;
      plan::Step step{.sources = contributions(*tree, rank, channel), .extent = extent};
      if (rank == tree->root) {
        step.sinks.push_back(chunk(rank, Buffer::kOutput, extent));
        step.post = true;
      } else {
        step.sinks.push_back(Operand::peer(tree->parent[rank], channel));
      }
      const plan::Wait at = lanes.add(rank, tree->channel, std::move(step));
      if (rank == tree->root) sums_.emplace_back(extent, at);
    }
    std::ranges::sort(sums_, {}, &std::pair<int32_t, plan::Wait>::first);
  }

  // A root's chunks go down the trees, from its input, or from the sums that reduce() has made.
  void gather(const PlacedForest& forest, int32_t first_channel) {
    Lanes lanes(&plan_, forest.channels);
    for (const auto& [tree, rank] : visits(forest, Flow::kOut)) {
      const int32_t extent = tree->extent;
      const int32_t channel = first_channel + tree->channel;
      plan::Step step{.extent = extent};
      for (const int32_t child : tree->children[rank])
        step.sinks.push_back(Operand::peer(child, channel));
      if (rank != tree->root) {
        step.sources.push_back(Operand::peer(tree->parent[rank], channel));
      } else if (sums_.empty()) {
        step.sources.push_back(chunk(rank, Buffer::kInput, extent));
      } else {
        step.sources.push_back(chunk(rank, Buffer::kOutput, extent));
        step.waits.push_back(sum_of(extent));
      }
      if (rank != tree->root || sums_.empty())
        step.sinks.insert(step.sinks.begin(), chunk(rank, Buffer::kOutput, extent));
      lanes.add(rank, tree->channel, std::move(step));
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
  std::vector<Operand> contributions(const PlacedTree& tree, int32_t rank, int32_t channel) const {
    const Operand own = chunk(rank, Buffer::kInput, tree.extent, true);
    std::vector<Operand> sources;
    bool own_is_in = false;
    for (const int32_t child : tree.children[rank]) {
      if (child > rank && !own_is_in) {
        sources.push_back(own);
        own_is_in = true;
      }
      sources.push_back(Operand::peer(child, channel));
    }
    if (!own_is_in) sources.push_back(own);
    return sources;
  }

  plan::Wait sum_of(int32_t extent) const {
    return std::ranges::lower_bound(sums_, extent, {}, &std::pair<int32_t, plan::Wait>::first)
        ->second;
  }

  plan::Plan plan_;
  std::vector<std::pair<int32_t, plan::Wait>> sums_;  // where each extent's sum is made; by extent
};

void add_routes(const PlacedForest& forest, verify::Placement* placement) {
  placement->routes.insert(placement->routes.end(), forest.routes.begin(), forest.routes.end());
}

}  // namespace

PlacedPlan forest_plan(const char* algorithm, Collective collective, const Forests& forests,
                       const FlowNetwork& network, int32_t max_channels) {
  const bool in = collective != Collective::kAllGather;
  const bool out = collective != Collective::kReduceScatter;
  const int32_t channels = std::max(1, in && out ? max_channels / 2 : max_channels);
  int64_t share = 0;
  if (in) share = std::gcd(share, common_share(*forests.scatter));
  if (out) share = std::gcd(share, common_share(*forests.gather));
  PlacedForest up;
  PlacedForest down;
  if (in) up = place_trees(*forests.scatter, Flow::kIn, share, channels, 0);
  const int32_t first_down = in ? up.channels : 0;
  if (out) down = place_trees(*forests.gather, Flow::kOut, share, channels, first_down);

  const auto chunks = static_cast<int32_t>((in ? up : down).trees.size());
  const int32_t n = network.n_terminals;
  Writer writer(algorithm,
                {.collective = collective,
                 .n_ranks = n,
                 .root = 0,
                 .chunks_per_block = collective == Collective::kAllReduce ? chunks : chunks / n});
  if (in) writer.reduce(up, 0);
  if (out) writer.gather(down, first_down);
  PlacedPlan placed;
  placed.placement.node_of_rank.assign(network.graph_node.begin(), network.graph_node.begin() + n);
  if (in) add_routes(up, &placed.placement);
  if (out) add_routes(down, &placed.placement);
  std::ranges::sort(placed.placement.routes, {}, [](const verify::Route& route) {
    return std::tuple(route.source_rank, route.sink_rank, route.channel);
  });
  placed.plan = writer.finish(first_down + (out ? down.channels : 0));
  return placed;
}

}  // namespace tutti::planner
