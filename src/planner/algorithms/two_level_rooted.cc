// SPDX-License-Identifier: Apache-2.0
// Broadcast and Reduce on two levels: shards travel along rails in a line of hosts from or to the
// root's.
//
// The pipeline of Watts and van de Geijn, "A pipelined broadcast for multidimensional meshes",
// 1995, per rail. h hosts, r rails (rails.h), S bytes; the block is r shards. The root hands all
// shards to its host's others; a shard's owner sends it to the owner at the next host, who hands it
// out and sends it on. Reduce is the reverse: an owner folds its host's contributions with what
// comes from farther away. S bytes into (Reduce: out of) each other host cross the network, by r
// ranks alike: the least there is. 1 hop on the host, 1 more behind the network, h-1 between hosts
// for the first tile; then a tile arrives per step. Messages flow one way; reference-safe, in place
// too.
#include <vector>

#include "src/planner/algorithms/cost.h"
#include "src/planner/algorithms/rails.h"
#include "src/planner/algorithms/rows.h"

namespace tutti::planner {
namespace {

constexpr const char* kName = "two_level";

// A rank's place in the lines. `step` counts hosts from the root's.
class Line {
 public:
  Line(const Rails& rails, int32_t root, int32_t rank)
      : rails_(rails), root_(root), rank_(rank), host_(rails.host_of(rank)) {}

  bool is_root() const { return rank_ == root_; }
  bool at_root() const { return host_ == rails_.host_of(root_); }
  bool owns(int32_t rail) const { return rails_.owns(rank_, rail); }
  plan::Operand owner(int32_t rail) const { return peer(rails_.rank(host_, rail)); }
  plan::Operand root() const { return peer(root_); }
  Operands others() const { return rails_.others(rank_); }
  Operands contributions() const { return rails_.contributions(rank_); }
  // The owner of the rail one host farther away, if we own it here and there is one.
  Operands farther(int32_t rail) const {
    const int32_t next = (host_ + 1) % rails_.hosts();
    if (!owns(rail) || next == rails_.host_of(root_)) return {};
    return {peer(rails_.rank(next, rail))};
  }
  plan::Operand nearer(int32_t rail) const {
    return peer(rails_.rank((host_ + rails_.hosts() - 1) % rails_.hosts(), rail));
  }

 private:
  const Rails& rails_;
  int32_t root_;
  int32_t rank_;
  int32_t host_;
};

void add_broadcast(PlanBuilder& builder, const Rails& rails, const Line& me, int32_t rank) {
  LaneBuilder from_root = builder.lane(rank);
  for (int32_t rail = 0; rail < rails.rails(); ++rail) {
    const Operands sinks = joined({output()}, me.farther(rail));
    if (me.is_root()) {
      from_root.step(rail, joined(sinks, me.others()), {input()});
    } else if (me.at_root()) {
      from_root.step(rail, sinks, {me.root()});
    } else if (me.owns(rail)) {
      LaneBuilder lane = builder.lane(rank);
      lane.step(rail, sinks, {me.nearer(rail)});
      if (!me.others().empty()) lane.step(rail, me.others(), {output()});
    } else {
      builder.lane(rank).step(rail, {output()}, {me.owner(rail)});
    }
  }
}

void add_reduce(PlanBuilder& builder, const Rails& rails, const Line& me, int32_t rank) {
  LaneBuilder gives = builder.lane(rank);
  for (int32_t rail = 0; rail < rails.rails(); ++rail) {
    const Operands far = me.farther(rail);
    if (me.is_root()) {
      gives.step(rail, {output()}, joined(far, me.contributions()), Post::kYes);
    } else if (me.at_root()) {
      gives.step(rail, {me.root()}, joined(far, {scaled_input()}));
    } else if (me.owns(rail)) {
      builder.lane(rank).step(rail, {me.nearer(rail)}, joined(far, me.contributions()));
    } else {
      gives.step(rail, {me.owner(rail)}, {scaled_input()});
    }
  }
}

template <void (*kAdd)(PlanBuilder&, const Rails&, const Line&, int32_t)>
plan::Plan build(const PlanRequest& request) {
  Rails rails(request);
  rails.make_owner(request.root);  // so that its own shard leaves at once
  PlanBuilder builder(kName, request, rails.rails());
  builder.set_tiles_in_flight(kTilesOnLevels);
  for (int32_t rank = 0; rank < request.n_ranks; ++rank)
    kAdd(builder, rails, Line(rails, request.root, rank), rank);
  return builder.finish();
}

double cost(const CostInput& in, double written, double read) {
  const HostCounts n(in);
  const auto block = static_cast<double>(in.bytes);
  return time_ns(in, {.hops = n.hosts + 1,
                      .messages = n.local,
                      .written_bytes = block * written,
                      .read_bytes = block * read,
                      .streams = static_cast<int32_t>(n.local)});
}
// A rank writes its output, and its shard for the others and for the next host.
double broadcast_cost(const CostInput& in) { return cost(in, 2, 1); }
double reduce_cost(const CostInput& in) { return cost(in, 1, 2); }

constexpr AlgorithmRow row(plan::Collective collective, plan::Plan (*build)(const PlanRequest&),
                           double (*cost_ns)(const CostInput&)) {
  return {.name = kName,
          .collective = collective,
          .source = "Watts and van de Geijn 1995, per rail",
          .supports = two_levels,
          .build = build,
          .cost_ns = cost_ns,
          .limits = kTwoLevels,
          .layered = true};
}

}  // namespace

constinit const AlgorithmRow kTwoLevelBroadcast =
    row(plan::Collective::kBroadcast, build<add_broadcast>, broadcast_cost);
constinit const AlgorithmRow kTwoLevelReduce =
    row(plan::Collective::kReduce, build<add_reduce>, reduce_cost);

}  // namespace tutti::planner
