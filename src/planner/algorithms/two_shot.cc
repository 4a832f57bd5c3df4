// SPDX-License-Identifier: Apache-2.0
// Two shot: a direct reduce-scatter, then a direct all-gather, two hops.
//
// The shared-memory exchange of intra-node collectives, bandwidth-optimal. n ranks, S bytes, n
// chunks: chunk r is folded at rank r in rank order, in a single pass over n sources, then
// multicast. A rank sends 2 S (n-1)/n in 2(n-1) messages. By reference it reads each input once and
// writes each output once, which is the least there is. The result is multicast from the output in
// a step of its own, so that it may travel by reference too.
//
// 1 slot is enough: all raw chunks are consumed before any result is sent. Reference-safe, in place
// too: a chunk's result arrives only after its owner has consumed our contribution.
#include "src/planner/algorithms/builder.h"
#include "src/planner/algorithms/cost.h"
#include "src/planner/algorithms/rows.h"

namespace tutti::planner {
namespace {

constexpr const char* kName = "two_shot";

plan::Plan all_reduce(const PlanRequest& request) {
  const int32_t n = request.n_ranks;
  if (n == 1) return local_plan(kName, request);
  PlanBuilder builder(kName, request, n);
  for (int32_t rank = 0; rank < n; ++rank) {
    const Operands peers = all_peers(n, rank);
    LaneBuilder lane = builder.lane(rank);
    for (const plan::Operand& owner : peers) lane.step(owner.index, {owner}, {scaled_input()});
    lane.step(rank, {output()}, in_rank_order(n, rank, scaled_input()), Post::kYes);
    lane.step(rank, peers, {output()});
    for (const plan::Operand& owner : peers) lane.step(owner.index, {output()}, {owner});
  }
  return builder.finish();
}

// The multicast rereads what has just been written: from cache, or by reference not at all, so it
// isn't counted.
double cost(const CostInput& in) {
  const double n = in.n_ranks;
  const double moved = static_cast<double>(in.bytes) * (1 + 2 * (n - 1) / n);
  return time_ns(in, {.hops = 2,
                      .messages = 2 * (n - 1),
                      .written_bytes = moved,
                      .read_bytes = moved,
                      .streams = in.n_ranks});
}

}  // namespace

constinit const AlgorithmRow kTwoShotAllReduce{.name = kName,
                                               .collective = plan::Collective::kAllReduce,
                                               .source = "direct exchange in shared memory",
                                               .supports = few_ranks,
                                               .build = all_reduce,
                                               .cost_ns = cost,
                                               .limits = kFewRanks};

}  // namespace tutti::planner
