// SPDX-License-Identifier: Apache-2.0
// One shot: every rank talks to every other directly, one hop.
//
// The shared-memory exchange of intra-node collectives: each reader takes what it needs from each
// writer. n ranks, S bytes per block:
//
//   AllReduce      a rank multicasts its input and folds all n: sends S (n-1), reads S n
//   Reduce         the root folds all n inputs: the others send S each
//   Broadcast      the root multicasts: sends S (n-1) in one step
//   AllGather      a rank multicasts its block: sends S (n-1)
//   ReduceScatter  a rank sends each block to its owner, which folds n: sends S (n-1)
//
// Everybody folds in rank order, and a scaled input is rounded before it is folded like one that
// has travelled, so all ranks of an AllReduce get the same bits.
//
// 1 slot is enough. Reference-safe, in place too, but for AllReduce in place: its output is
// overwritten while others may still read the input there.
#include "src/planner/algorithms/builder.h"
#include "src/planner/algorithms/cost.h"
#include "src/planner/algorithms/rows.h"

namespace tutti::planner {
namespace {

constexpr const char* kName = "one_shot";

Operands output_and_peers(int32_t n, int32_t rank) {
  Operands sinks = all_peers(n, rank);
  sinks.insert(sinks.begin(), output());
  return sinks;
}

plan::Plan all_reduce(const PlanRequest& request) {
  const int32_t n = request.n_ranks;
  if (n == 1) return local_plan(kName, request);
  PlanBuilder builder(kName, request, 1);
  for (int32_t rank = 0; rank < n; ++rank) {
    LaneBuilder lane = builder.lane(rank);
    lane.step(0, all_peers(n, rank), {scaled_input()});
    lane.step(0, {output()}, in_rank_order(n, rank, scaled_input()), Post::kYes);
  }
  return builder.finish();
}

plan::Plan reduce(const PlanRequest& request) {
  const int32_t n = request.n_ranks;
  if (n == 1) return local_plan(kName, request);
  PlanBuilder builder(kName, request, 1);
  for (int32_t rank = 0; rank < n; ++rank) {
    LaneBuilder lane = builder.lane(rank);
    if (rank == request.root) {
      lane.step(0, {output()}, in_rank_order(n, rank, scaled_input()), Post::kYes);
    } else {
      lane.step(0, {peer(request.root)}, {scaled_input()});
    }
  }
  return builder.finish();
}

plan::Plan broadcast(const PlanRequest& request) {
  const int32_t n = request.n_ranks;
  if (n == 1) return local_plan(kName, request);
  PlanBuilder builder(kName, request, 1);
  for (int32_t rank = 0; rank < n; ++rank) {
    LaneBuilder lane = builder.lane(rank);
    if (rank == request.root) {
      lane.step(0, output_and_peers(n, rank), {input()});
    } else {
      lane.step(0, {output()}, {peer(request.root)});
    }
  }
  return builder.finish();
}

plan::Plan all_gather(const PlanRequest& request) {
  const int32_t n = request.n_ranks;
  if (n == 1) return local_plan(kName, request);
  PlanBuilder builder(kName, request, 1);
  for (int32_t rank = 0; rank < n; ++rank) {
    builder.lane(rank).step(rank, output_and_peers(n, rank), {input()});
    LaneBuilder lane = builder.lane(rank);
    for (const plan::Operand& from : all_peers(n, rank)) lane.step(from.index, {output()}, {from});
  }
  builder.let_lanes_run_apart();
  return builder.finish();
}

plan::Plan reduce_scatter(const PlanRequest& request) {
  const int32_t n = request.n_ranks;
  if (n == 1) return local_plan(kName, request);
  PlanBuilder builder(kName, request, 1);
  for (int32_t rank = 0; rank < n; ++rank) {
    LaneBuilder lane = builder.lane(rank);
    for (const plan::Operand& owner : all_peers(n, rank))
      lane.step(owner.index, {owner}, {scaled_input()});
    builder.lane(rank).step(rank, {output()}, in_rank_order(n, rank, scaled_input()), Post::kYes);
  }
  builder.let_lanes_run_apart();
  return builder.finish();
}

// One hop, `messages` per rank; bytes in units of a block.
double cost(const CostInput& in, double messages, double written, double read) {
  const auto block = static_cast<double>(in.bytes);
  return time_ns(in, {.hops = 1,
                      .messages = messages,
                      .written_bytes = block * written,
                      .read_bytes = block * read,
                      .streams = in.n_ranks});
}

double all_reduce_cost(const CostInput& in) {
  const double n = in.n_ranks;
  return cost(in, n - 1, n, n + 1);
}
double reduce_cost(const CostInput& in) {
  const double n = in.n_ranks;
  return cost(in, (n - 1) / n, 1, (2 * n - 1) / n);
}
double broadcast_cost(const CostInput& in) {
  const double n = in.n_ranks;
  return cost(in, (n - 1) / n, (2 * n - 1) / n, 1);
}
double all_gather_cost(const CostInput& in) {
  const double n = in.n_ranks;
  return cost(in, n - 1, 2 * n - 1, n);
}
double reduce_scatter_cost(const CostInput& in) {
  const double n = in.n_ranks;
  return cost(in, n - 1, n, 2 * n - 1);
}

constexpr AlgorithmRow row(plan::Collective collective, plan::Plan (*build)(const PlanRequest&),
                           double (*cost_ns)(const CostInput&)) {
  return {.name = kName,
          .collective = collective,
          .source = "direct exchange in shared memory",
          .supports = few_ranks,
          .build = build,
          .cost_ns = cost_ns,
          .limits = kFewRanks};
}

}  // namespace

constinit const AlgorithmRow kOneShotAllReduce =
    row(plan::Collective::kAllReduce, all_reduce, all_reduce_cost);
constinit const AlgorithmRow kOneShotReduce = row(plan::Collective::kReduce, reduce, reduce_cost);
constinit const AlgorithmRow kOneShotBroadcast =
    row(plan::Collective::kBroadcast, broadcast, broadcast_cost);
constinit const AlgorithmRow kOneShotAllGather =
    row(plan::Collective::kAllGather, all_gather, all_gather_cost);
constinit const AlgorithmRow kOneShotReduceScatter =
    row(plan::Collective::kReduceScatter, reduce_scatter, reduce_scatter_cost);

}  // namespace tutti::planner
