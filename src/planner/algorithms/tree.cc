// SPDX-License-Identifier: Apache-2.0
// Double binary tree: two trees over the same ranks, each reduces and broadcasts half of the data.
//
// Sanders, Speck and Traeff 2009, see double_tree.h: every rank sends and receives about as much as
// any other. n ranks, S bytes: about 2 log2(n) hops, a rank sends 2 S on average;
// 2 * channels chunks per block. One lane per tree and direction, so that the sums of later tiles
// go up while results come down; the root's two directions are one step. Each lane only waits
// upwards or only downwards: 1 slot is enough. Reference-safe, in place too: a result reaches a
// rank only after its contribution has been consumed all the way up.
#include <algorithm>
#include <array>

#include "src/planner/algorithms/builder.h"
#include "src/planner/algorithms/cost.h"
#include "src/planner/algorithms/double_tree.h"
#include "src/planner/algorithms/hypercube.h"
#include "src/planner/algorithms/rows.h"

namespace tutti::planner {
namespace {

constexpr int32_t kMaxTilesInFlight = 8;

// This rank's part of one tree's reduction and broadcast; `chunk` is both the extent and the
// channel.
void add_lanes(PlanBuilder& builder, int32_t rank, const TreeNode& node, int32_t chunk) {
  Operands contributions;
  Operands children;
  bool own_added = false;
  for (const int32_t child : node.children) {
    if (child > rank && !own_added) contributions.push_back(scaled_input());
    own_added = own_added || child > rank;
    contributions.push_back(peer(child, chunk));
    children.push_back(peer(child, chunk));
  }
  if (!own_added) contributions.push_back(scaled_input());

  LaneBuilder up = builder.lane(rank);
  Operands result = children;
  result.insert(result.begin(), output());
  if (node.parent == kNoParent) {
    up.step(chunk, result, contributions, Post::kYes);
  } else {
    up.step(chunk, {peer(node.parent, chunk)}, contributions);
    builder.lane(rank).step(chunk, result, {peer(node.parent, chunk)});
  }
}

plan::Plan all_reduce(const PlanRequest& request) {
  if (request.n_ranks == 1) return local_plan("tree", request);
  const int32_t n = request.n_ranks;
  PlanBuilder builder("tree", request, 2 * request.channels);
  builder.set_tiles_in_flight(std::min(kMaxTilesInFlight, 2 * ceil_log2(n)));
  const std::array<BinaryTree, 2> trees = double_tree(n);
  for (int32_t rank = 0; rank < n; ++rank) {
    for (int32_t chunk = 0; chunk < 2 * request.channels; ++chunk) {
      add_lanes(builder, rank, trees[static_cast<size_t>(chunk % 2)][static_cast<size_t>(rank)],
                chunk);
    }
  }
  return builder.finish();
}

double cost(const CostInput& in) {
  const double n = in.n_ranks;
  const double moved = static_cast<double>(in.bytes) * (1 + 2 * (n - 1) / n);
  return time_ns(in, {.hops = 2.0 * ceil_log2(in.n_ranks),
                      .messages = 4 * (n - 1) / n,
                      .written_bytes = moved,
                      .read_bytes = moved});
}

}  // namespace

constinit const AlgorithmRow kTreeAllReduce{.name = "tree",
                                            .collective = plan::Collective::kAllReduce,
                                            .source = "Sanders, Speck and Traeff 2009",
                                            .supports = any_rank_count,
                                            .build = all_reduce,
                                            .cost_ns = cost};

}  // namespace tutti::planner
