// SPDX-License-Identifier: Apache-2.0
// Ring: partial sums travel once around, finished chunks travel around once more.
//
// Patarasuk and Yuan, "Bandwidth optimal all-reduce algorithms for clusters of workstations",
// JPDC 69(2), 2009. n ranks, S bytes per block, `channels` rings side by side, the odd ones
// backwards so that both directions of a link carry data. Over several hosts a ring goes through
// one after the other, so that it crosses from host to host once per host and direction.
//
//   AllReduce      2(n-1) hops, a rank sends 2 S (n-1)/n; n * channels chunks per block
//   AllGather        n-1  hops, a rank sends S (n-1);     channels chunks per block
//   ReduceScatter    n-1  hops, a rank sends S (n-1);     channels chunks per block
//
// Needs 2 slots: all ranks send before any receives. Reference-safe, in place too: what a rank has
// sent is overwritten only by data that has come full circle through its reader.
#include <vector>

#include "src/planner/algorithms/builder.h"
#include "src/planner/algorithms/cost.h"
#include "src/planner/algorithms/rows.h"

namespace tutti::planner {
namespace {

// One rank's place in one ring. A part is what starts at one rank: a block, or an n-th of
// AllReduce's only block.
struct Place {
  const std::vector<int32_t>& order;  // of the ranks around the ring
  int32_t n;
  int32_t at;  // in the order
  int32_t channel;
  int32_t channels;

  int32_t ahead(int32_t hops) const {
    const int32_t forward = channel % 2 == 0 ? hops : n - hops;
    return order[static_cast<size_t>((at + forward) % n)];
  }
  plan::Operand next() const { return peer(ahead(1), channel); }
  plan::Operand previous() const { return peer(ahead(n - 1), channel); }
  // Extent of this channel's chunk of the part named after the rank `hops` behind.
  int32_t part(int32_t hops) const { return ahead((2 * n - hops) % n) * channels + channel; }
};

// Parts first, first + 1, ... first + n - 2 go by with our contribution added; part first + n - 1
// is ours to finish.
void pass_on_sums(LaneBuilder& lane, const Place& me, int32_t first) {
  lane.step(me.part(first), {me.next()}, {scaled_input()});
  for (int32_t s = 1; s < me.n - 1; ++s) {
    lane.step(me.part(first + s), {me.next()}, {me.previous(), scaled_input()});
  }
}

// We have sent part first - 1; the n - 1 parts behind it arrive one by one, and all but the last go
// on.
void pass_on_results(LaneBuilder& lane, const Place& me, int32_t first) {
  for (int32_t s = 0; s < me.n - 2; ++s) {
    lane.step(me.part(first + s), {output(), me.next()}, {me.previous()});
  }
  lane.step(me.part(first + me.n - 2), {output()}, {me.previous()});
}

void all_reduce_lane(LaneBuilder& lane, const Place& me) {
  pass_on_sums(lane, me, 0);
  lane.step(me.part(me.n - 1), {output(), me.next()}, {me.previous(), scaled_input()}, Post::kYes);
  pass_on_results(lane, me, me.n);
}

void all_gather_lane(LaneBuilder& lane, const Place& me) {
  lane.step(me.part(0), {output(), me.next()}, {input()});
  pass_on_results(lane, me, 1);
}

void reduce_scatter_lane(LaneBuilder& lane, const Place& me) {
  pass_on_sums(lane, me, 1);
  lane.step(me.part(me.n), {output()}, {me.previous(), scaled_input()}, Post::kYes);
}

plan::Plan rings(const PlanRequest& request, int32_t parts_per_block,
                 void (*fill)(LaneBuilder&, const Place&)) {
  if (request.n_ranks == 1) return local_plan("ring", request);
  PlanBuilder builder("ring", request, parts_per_block * request.channels);
  const std::vector<int32_t> order = in_host_order(request.hosts, request.n_ranks, 0);
  for (int32_t at = 0; at < request.n_ranks; ++at) {
    for (int32_t channel = 0; channel < request.channels; ++channel) {
      LaneBuilder lane = builder.lane(order[static_cast<size_t>(at)]);
      fill(lane, {order, request.n_ranks, at, channel, request.channels});
    }
  }
  return builder.finish();
}

plan::Plan all_reduce(const PlanRequest& request) {
  return rings(request, request.n_ranks, all_reduce_lane);
}
plan::Plan all_gather(const PlanRequest& request) { return rings(request, 1, all_gather_lane); }
plan::Plan reduce_scatter(const PlanRequest& request) {
  return rings(request, 1, reduce_scatter_lane);
}

double all_reduce_cost(const CostInput& in) {
  const double n = in.n_ranks;
  const double moved = static_cast<double>(in.bytes) * (1 + 2 * (n - 1) / n);
  return time_ns(
      in,
      {.hops = 2 * (n - 1), .messages = 2 * (n - 1), .written_bytes = moved, .read_bytes = moved});
}

double all_gather_cost(const CostInput& in) {
  const double n = in.n_ranks;
  const auto block = static_cast<double>(in.bytes);
  return time_ns(in, {.hops = n - 1,
                      .messages = n - 1,
                      .written_bytes = block * (2 * n - 1),
                      .read_bytes = block * n});
}

double reduce_scatter_cost(const CostInput& in) {
  const double n = in.n_ranks;
  const auto block = static_cast<double>(in.bytes);
  return time_ns(in, {.hops = n - 1,
                      .messages = n - 1,
                      .written_bytes = block * n,
                      .read_bytes = block * (2 * n - 1)});
}

constexpr const char* kSource = "Patarasuk and Yuan 2009";

}  // namespace

constinit const AlgorithmRow kRingAllReduce{.name = "ring",
                                            .collective = plan::Collective::kAllReduce,
                                            .source = kSource,
                                            .supports = any_rank_count,
                                            .build = all_reduce,
                                            .cost_ns = all_reduce_cost,
                                            .by_host_order = true};
constinit const AlgorithmRow kRingAllGather{.name = "ring",
                                            .collective = plan::Collective::kAllGather,
                                            .source = kSource,
                                            .supports = any_rank_count,
                                            .build = all_gather,
                                            .cost_ns = all_gather_cost,
                                            .by_host_order = true};
constinit const AlgorithmRow kRingReduceScatter{.name = "ring",
                                                .collective = plan::Collective::kReduceScatter,
                                                .source = kSource,
                                                .supports = any_rank_count,
                                                .build = reduce_scatter,
                                                .cost_ns = reduce_scatter_cost,
                                                .by_host_order = true};

}  // namespace tutti::planner
