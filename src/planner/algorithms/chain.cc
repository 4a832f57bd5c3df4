// SPDX-License-Identifier: Apache-2.0
// Chain: ranks in a line from the root, one step per rank; tiles make it a pipeline.
//
// Watts and van de Geijn, "A pipelined broadcast for multidimensional meshes", Parallel Processing
// Letters 5(2), 1995. n ranks, S bytes: n-1 hops for the first tile, after which a tile arrives per
// step; a rank sends S. Messages flow one way: 1 slot is enough. Reference-safe, in place too:
// nothing that is sent is overwritten. Over several hosts the line goes through one after the
// other.
#include <vector>

#include "src/planner/algorithms/builder.h"
#include "src/planner/algorithms/cost.h"
#include "src/planner/algorithms/rows.h"

namespace tutti::planner {
namespace {

constexpr const char* kName = "chain";

plan::Plan reduce(const PlanRequest& request) {
  const int32_t n = request.n_ranks;
  if (n == 1) return local_plan(kName, request);
  PlanBuilder builder(kName, request, 1);
  const std::vector<int32_t> order = in_host_order(request.hosts, n, request.root);
  const auto rank_at = [&](int32_t place) { return order[static_cast<size_t>(place)]; };
  for (int32_t place = 0; place < n; ++place) {
    Operands contributions{scaled_input()};
    if (place < n - 1) contributions.insert(contributions.begin(), peer(rank_at(place + 1)));
    const bool root = place == 0;
    builder.lane(rank_at(place))
        .step(0, {root ? output() : peer(rank_at(place - 1))}, contributions,
              root ? Post::kYes : Post::kNo);
  }
  return builder.finish();
}

plan::Plan broadcast(const PlanRequest& request) {
  const int32_t n = request.n_ranks;
  if (n == 1) return local_plan(kName, request);
  PlanBuilder builder(kName, request, 1);
  const std::vector<int32_t> order = in_host_order(request.hosts, n, request.root);
  const auto rank_at = [&](int32_t place) { return order[static_cast<size_t>(place)]; };
  for (int32_t place = 0; place < n; ++place) {
    Operands sinks{output()};
    if (place < n - 1) sinks.push_back(peer(rank_at(place + 1)));
    builder.lane(rank_at(place)).step(0, sinks, {place == 0 ? input() : peer(rank_at(place - 1))});
  }
  return builder.finish();
}

double reduce_cost(const CostInput& in) {
  const double n = in.n_ranks;
  const auto bytes = static_cast<double>(in.bytes);
  return time_ns(in, {.hops = n - 1,
                      .messages = (n - 1) / n,
                      .written_bytes = bytes,
                      .read_bytes = bytes * (2 * n - 1) / n});
}

double broadcast_cost(const CostInput& in) {
  const double n = in.n_ranks;
  const auto bytes = static_cast<double>(in.bytes);
  return time_ns(in, {.hops = n - 1,
                      .messages = (n - 1) / n,
                      .written_bytes = bytes * (2 * n - 1) / n,
                      .read_bytes = bytes});
}

constexpr const char* kSource = "Watts and van de Geijn 1995";

}  // namespace

constinit const AlgorithmRow kChainReduce{.name = kName,
                                          .collective = plan::Collective::kReduce,
                                          .source = kSource,
                                          .supports = any_rank_count,
                                          .build = reduce,
                                          .cost_ns = reduce_cost,
                                          .by_host_order = true};
constinit const AlgorithmRow kChainBroadcast{.name = kName,
                                             .collective = plan::Collective::kBroadcast,
                                             .source = kSource,
                                             .supports = any_rank_count,
                                             .build = broadcast,
                                             .cost_ns = broadcast_cost,
                                             .by_host_order = true};

}  // namespace tutti::planner
