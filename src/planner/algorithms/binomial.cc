// SPDX-License-Identifier: Apache-2.0
// Binomial trees for the rooted collectives.
//
// Johnsson and Ho, "Optimum broadcasting and personalized communication in hypercubes", IEEE ToC
// 38(9), 1989. Places are ranks counted from the root; place v's parent is v without its lowest
// bit. n ranks, S bytes per block, ceil(log2 n) hops:
//   Reduce     a rank folds its children and sends S once; one step per rank
//   Broadcast  a rank passes S on to each child in one step; n-1 messages in all
//   Gather     blocks are passed on one by one; a block at place v takes popcount(v) hops
//   Scatter    the reverse
// Messages only flow one way along the tree: 1 slot is enough. Reference-safe, in place too:
// nothing that is sent is overwritten (Gather's and Scatter's relayed blocks have no local copy).
#include "src/planner/algorithms/builder.h"
#include "src/planner/algorithms/cost.h"
#include "src/planner/algorithms/hypercube.h"
#include "src/planner/algorithms/rows.h"

namespace tutti::planner {
namespace {

constexpr const char* kName = "binomial";

// A rank's place in the tree.
struct Place {
  int32_t n;
  int32_t root;
  int32_t v;  // 0 at the root

  int32_t rank() const { return rank_at(v); }
  int32_t rank_at(int32_t place) const { return (place + root) % n; }
  plan::Operand at(int32_t place) const { return peer(rank_at(place)); }
  plan::Operand parent() const { return at(v & (v - 1)); }
  // One past the last place of our subtree, which is v, v + 1, ...
  int32_t subtree_end() const {
    const int32_t size = v == 0 ? n : v & -v;
    return v + size < n ? v + size : n;
  }
  // The child in whose subtree `place` (another one of ours) is.
  plan::Operand child_towards(int32_t place) const { return at(v + (1 << top_bit(place - v))); }
  Operands children() const {
    Operands peers;
    for (int32_t distance = 1; v + distance < subtree_end(); distance *= 2)
      peers.push_back(at(v + distance));
    return peers;
  }
};

void reduce_lane(LaneBuilder& lane, const Place& me) {
  Operands contributions = me.children();
  contributions.insert(contributions.begin(), scaled_input());
  if (me.v == 0) {
    lane.step(0, {output()}, contributions, Post::kYes);
  } else {
    lane.step(0, {me.parent()}, contributions);
  }
}

void broadcast_lane(LaneBuilder& lane, const Place& me) {
  Operands sinks = me.children();
  sinks.insert(sinks.begin(), output());
  lane.step(0, sinks, {me.v == 0 ? input() : me.parent()});
}

void gather_lane(LaneBuilder& lane, const Place& me) {
  for (int32_t place = me.v; place < me.subtree_end(); ++place) {
    lane.step(me.rank_at(place), {me.v == 0 ? output() : me.parent()},
              {place == me.v ? input() : me.child_towards(place)});
  }
}

void scatter_lane(LaneBuilder& lane, const Place& me) {
  for (int32_t place = me.subtree_end() - 1; place >= me.v; --place) {
    lane.step(me.rank_at(place), {place == me.v ? output() : me.child_towards(place)},
              {me.v == 0 ? input() : me.parent()});
  }
}

template <void (*kFill)(LaneBuilder&, const Place&)>
plan::Plan build(const PlanRequest& request) {
  if (request.n_ranks == 1) return local_plan(kName, request);
  PlanBuilder builder(kName, request, 1);
  for (int32_t v = 0; v < request.n_ranks; ++v) {
    const Place me{request.n_ranks, request.root, v};
    LaneBuilder lane = builder.lane(me.rank());
    kFill(lane, me);
  }
  return builder.finish();
}

// ceil(log2 n) hops; messages per rank and bytes in units of a block.
double cost(const CostInput& in, double messages, double written, double read) {
  const auto block = static_cast<double>(in.bytes);
  return time_ns(in, {.hops = static_cast<double>(ceil_log2(in.n_ranks)),
                      .messages = messages,
                      .written_bytes = block * written,
                      .read_bytes = block * read});
}

double reduce_cost(const CostInput& in) {
  const double n = in.n_ranks;
  return cost(in, (n - 1) / n, 1, (2 * n - 1) / n);
}
double broadcast_cost(const CostInput& in) {
  const double n = in.n_ranks;
  return cost(in, (n - 1) / n, (2 * n - 1) / n, 1);
}
// A block travels half of the rounds on average.
double personalized_cost(const CostInput& in) {
  const double hops = ceil_log2(in.n_ranks) / 2.0;
  return cost(in, hops, hops + 1, hops + 1);
}

constexpr AlgorithmRow row(plan::Collective collective, plan::Plan (*build)(const PlanRequest&),
                           double (*cost_ns)(const CostInput&)) {
  return {.name = kName,
          .collective = collective,
          .source = "Johnsson and Ho 1989",
          .supports = any_rank_count,
          .build = build,
          .cost_ns = cost_ns};
}

}  // namespace

constinit const AlgorithmRow kBinomialReduce =
    row(plan::Collective::kReduce, build<reduce_lane>, reduce_cost);
constinit const AlgorithmRow kBinomialBroadcast =
    row(plan::Collective::kBroadcast, build<broadcast_lane>, broadcast_cost);
constinit const AlgorithmRow kBinomialGather =
    row(plan::Collective::kGather, build<gather_lane>, personalized_cost);
constinit const AlgorithmRow kBinomialScatter =
    row(plan::Collective::kScatter, build<scatter_lane>, personalized_cost);

}  // namespace tutti::planner
