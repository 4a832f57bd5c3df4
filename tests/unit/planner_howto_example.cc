// SPDX-License-Identifier: Apache-2.0
// Star: rank 0 folds everybody's input and multicasts the result.
//
// The textbook's gather and broadcast. n ranks, S bytes: 2 hops; rank 0 receives and sends S (n-1),
// the others send S each. 1 slot is enough. Reference-safe, in place too: a rank's input is only
// overwritten by the result, which its reader sends after reading.
#include "src/planner/algorithms/builder.h"
#include "src/planner/algorithms/cost.h"
#include "src/planner/algorithms/rows.h"

namespace tutti::planner {
namespace {

plan::Plan all_reduce(const PlanRequest& request) {
  const int32_t n = request.n_ranks;
  if (n == 1) return local_plan("star", request);
  PlanBuilder builder("star", request, /*chunks_per_block=*/1);

  LaneBuilder hub = builder.lane(0);
  hub.step(/*extent=*/0, {output()}, in_rank_order(n, 0, scaled_input()), Post::kYes);
  hub.step(0, all_peers(n, 0), {output()});

  for (int32_t rank = 1; rank < n; ++rank) {
    LaneBuilder lane = builder.lane(rank);
    lane.step(0, {peer(0)}, {scaled_input()});
    lane.step(0, {output()}, {peer(0)});
  }
  return builder.finish();
}

double cost(const CostInput& in) {
  const double n = in.n_ranks;
  const double moved = static_cast<double>(in.bytes) * (3 * n - 2) / n;
  return time_ns(in, {.hops = 2,
                      .messages = 2 * (n - 1) / n,
                      .written_bytes = moved,
                      .read_bytes = moved,
                      .streams = in.n_ranks});
}

}  // namespace

extern const AlgorithmRow kStarAllReduce;
constinit const AlgorithmRow kStarAllReduce{.name = "star",
                                            .collective = plan::Collective::kAllReduce,
                                            .source = "gather and broadcast",
                                            .supports = few_ranks,
                                            .build = all_reduce,
                                            .cost_ns = cost,
                                            .limits = kFewRanks};

}  // namespace tutti::planner
