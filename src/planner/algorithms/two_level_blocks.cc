// SPDX-License-Identifier: Apache-2.0
// AllGather and ReduceScatter on two levels: blocks travel along rails from host to host, and cross
// the network once per host that needs them.
//
// After Traeff and Hunold, "Decomposing MPI collectives for exploiting multi-lane communication",
// CLUSTER 2020. h hosts, r rails (rails.h), n ranks, S bytes per block. The block of the rank at
// place p of a host goes by rail p mod r; where hosts are alike that is the rank's own.
//
//   AllGather      a rank hands its block to its host's others; the rail's owner sends it on to the
//                  next host, where the owner of the same rail hands it out and sends it on
//   ReduceScatter  backwards: an owner folds what its host's ranks have for a block of another host
//                  with what comes along the rail, until the block is where it belongs
//
// Into (ReduceScatter: out of) a host of m ranks cross S (n-m) bytes, the least there is; the other
// way as many along a ring, and S m (h-1) directly, which is the same where hosts are alike.
//
//   two_level         along a ring of hosts, `channels` of them, the odd ones backwards: h-1 hops
//                     between hosts
//   two_level_direct  from each owner to all others of the rail: one hop between hosts
//
// On the host one hop, two where a block's rank is no owner. Reference-safe, in place too.
#include <algorithm>
#include <vector>

#include "src/planner/algorithms/cost.h"
#include "src/planner/algorithms/rails.h"
#include "src/planner/algorithms/rows.h"

namespace tutti::planner {
namespace {

// One channel of one rail at one host.
struct Rail {
  const Rails& rails;
  int32_t host;
  int32_t rail;
  int32_t channel;
  int32_t channels;
  bool direct;  // else along a ring

  int32_t ahead(int32_t hops) const {
    const int32_t h = rails.hosts();
    return (host + (channel % 2 == 0 ? hops : h - hops)) % h;
  }
  int32_t owner() const { return rails.rank(host, rail); }
  plan::Operand at(int32_t other) const { return peer(rails.rank(other, rail), channel); }
  int32_t extent(int32_t rank) const { return rank * channels + channel; }
  // The most blocks that a host has for this rail: one where hosts are alike. Each is a pass of its
  // own, so that hosts with more do not run ahead of the others.
  int32_t passes() const {
    int32_t most = 0;
    for (int32_t other = 0; other < rails.hosts(); ++other)
      most = std::max(most, (rails.size(other) - rail + rails.rails() - 1) / rails.rails());
    return most;
  }
  // The rank of a host whose block goes by this rail in a pass; -1: none.
  int32_t block_of(int32_t other, int32_t pass) const {
    const int32_t place = rail + pass * rails.rails();
    return place < rails.size(other) ? rails.rank(other, place) : -1;
  }
  // The other hosts in the order in which their blocks arrive here (AllGather) or leave
  // (ReduceScatter).
  std::vector<int32_t> other_hosts() const {
    std::vector<int32_t> others;
    for (int32_t s = 1; s < rails.hosts(); ++s)
      others.push_back(direct ? (host + s) % rails.hosts() : ahead(rails.hosts() - s));
    return others;
  }
};

// ---- AllGather ----

// Who gets a block next after it has come to `rail`'s host from `from` (itself: it is at home).
Operands farther(const Rail& me, int32_t from) {
  if (!me.direct) return me.ahead(1) == from ? Operands{} : Operands{me.at(me.ahead(1))};
  Operands owners;
  if (from == me.host)
    for (const int32_t other : me.other_hosts()) owners.push_back(me.at(other));
  return owners;
}

void gather_home(LaneBuilder& lane, const Rail& me, int32_t rank) {
  const Operands sinks = joined({output()}, farther(me, me.host));
  if (rank == me.owner()) {
    lane.step(me.extent(rank), joined(sinks, me.rails.others(rank, me.channel)), {input()});
  } else if (rank >= 0) {
    lane.step(me.extent(rank), sinks, {peer(rank, me.channel)});
  }
}

void gather_lane(LaneBuilder& lane, const Rail& me) {
  const Operands others = me.rails.others(me.owner(), me.channel);
  const plan::Operand behind = me.at(me.ahead(me.rails.hosts() - 1));
  for (int32_t pass = 0; pass < me.passes(); ++pass) {
    gather_home(lane, me, me.block_of(me.host, pass));
    for (const int32_t other : me.other_hosts()) {
      const int32_t rank = me.block_of(other, pass);
      if (rank < 0) continue;
      lane.step(me.extent(rank), joined({output()}, farther(me, other)),
                {me.direct ? me.at(other) : behind});
      if (!others.empty()) lane.step(me.extent(rank), others, {output()});
    }
  }
}

// What the rank `from` of our host hands out: its own block, and as an owner those of its rail.
void add_gather_from(PlanBuilder& builder, Rail me, int32_t rank, int32_t from) {
  const int32_t place = me.rails.place_of(from);
  me.rail = place % me.rails.rails();
  if (place != me.rail && me.owner() == rank) return;  // our rail's lane gets it
  LaneBuilder lane = builder.lane(rank);
  lane.step(me.extent(from), {output()}, {peer(from, me.channel)});
  if (place != me.rail) return;
  for (int32_t pass = 0; pass < me.passes(); ++pass) {
    for (const int32_t other : me.other_hosts()) {
      const int32_t block = me.block_of(other, pass);
      if (block >= 0) lane.step(me.extent(block), {output()}, {peer(from, me.channel)});
    }
  }
}

void add_gather(PlanBuilder& builder, Rail me, int32_t rank) {
  const int32_t place = me.rails.place_of(rank);
  LaneBuilder lane = builder.lane(rank);
  if (place < me.rails.rails()) {
    gather_lane(lane, me);
  } else {
    lane.step(me.extent(rank), joined({output()}, me.rails.others(rank, me.channel)), {input()});
  }
  for (const plan::Operand& other : me.rails.others(rank))
    add_gather_from(builder, me, rank, other.index);
}

// ---- ReduceScatter ----

void scatter_home(LaneBuilder& lane, const Rail& me, int32_t rank) {
  if (rank < 0) return;
  Operands comes;
  if (me.direct) {
    for (const int32_t other : me.other_hosts()) comes.push_back(me.at(other));
  } else {
    comes.push_back(me.at(me.ahead(me.rails.hosts() - 1)));
  }
  lane.step(me.extent(rank), {rank == me.owner() ? output() : peer(rank, me.channel)},
            joined(comes, me.rails.contributions(me.owner(), me.channel)), Post::kYes);
}

void scatter_lane(LaneBuilder& lane, const Rail& me) {
  const Operands own = me.rails.contributions(me.owner(), me.channel);
  const plan::Operand behind = me.at(me.ahead(me.rails.hosts() - 1));
  for (int32_t pass = 0; pass < me.passes(); ++pass) {
    for (const int32_t other : me.other_hosts()) {
      const int32_t rank = me.block_of(other, pass);
      if (rank < 0) continue;
      // Along a ring the host ahead of the block's begins.
      const bool begins = me.direct || me.ahead(me.rails.hosts() - 1) == other;
      lane.step(me.extent(rank), {me.direct ? me.at(other) : me.at(me.ahead(1))},
                begins ? own : joined({behind}, own));
    }
    scatter_home(lane, me, me.block_of(me.host, pass));
  }
}

// Contributions to the owners of our host, in the order in which they take them.
void add_contributions(PlanBuilder& builder, Rail me, int32_t rank) {
  const int32_t rails = me.rails.rails();
  LaneBuilder gives = builder.lane(rank);
  std::vector<int32_t> hosts = me.other_hosts();
  hosts.push_back(me.host);
  me.rail = 0;  // which has the most passes
  const int32_t passes = me.passes();
  for (int32_t pass = 0; pass < passes; ++pass) {
    for (const int32_t other : hosts) {
      for (int32_t i = 1; i <= rails; ++i) {
        me.rail = (me.rails.place_of(rank) + i) % rails;
        const int32_t block = me.block_of(other, pass);
        if (me.owner() != rank && block >= 0)
          gives.step(me.extent(block), {peer(me.owner(), me.channel)}, {scaled_input()});
      }
    }
  }
}

void add_scatter(PlanBuilder& builder, Rail me, int32_t rank) {
  const int32_t rails = me.rails.rails();
  const int32_t place = me.rails.place_of(rank);
  if (place < rails) {
    LaneBuilder lane = builder.lane(rank);
    scatter_lane(lane, me);
  }
  add_contributions(builder, me, rank);
  if (place < rails) return;
  me.rail = place % rails;
  builder.lane(rank).step(me.extent(rank), {output()}, {peer(me.owner(), me.channel)});
}

// ---- plans ----

constexpr const char* kRingName = "two_level";
constexpr const char* kDirectName = "two_level_direct";

template <void (*kAdd)(PlanBuilder&, Rail, int32_t), bool kDirect>
plan::Plan build(const PlanRequest& request) {
  const Rails rails(request);
  const int32_t channels = kDirect ? 1 : request.channels;
  PlanBuilder builder(kDirect ? kDirectName : kRingName, request, channels);
  builder.set_tiles_in_flight(kTilesOnLevels);
  for (int32_t rank = 0; rank < request.n_ranks; ++rank)
    for (int32_t channel = 0; channel < channels; ++channel)
      kAdd(builder, {rails, rails.host_of(rank), rails.place_of(rank), channel, channels, kDirect},
           rank);
  return builder.finish();
}

// Bytes in blocks.
double cost(const CostInput& in, double far_hops, double written, double read, double streams) {
  const HostCounts n(in);
  const auto block = static_cast<double>(in.bytes);
  return time_ns(in, {.hops = 1 + far_hops,
                      .messages = n.hosts * n.local - 1,
                      .written_bytes = block * written,
                      .read_bytes = block * read,
                      .streams = static_cast<int32_t>(streams)});
}

template <bool kDirect>
double gather_cost(const CostInput& in) {
  const HostCounts n(in);
  const double ranks = n.hosts * n.local;
  return cost(in, kDirect ? 1 : n.hosts - 1, 2 * ranks - 1, ranks, n.local);
}
template <bool kDirect>
double scatter_cost(const CostInput& in) {
  const HostCounts n(in);
  const double ranks = n.hosts * n.local;
  return cost(in, kDirect ? 1 : n.hosts - 1, ranks, 2 * ranks - 1, n.local);
}

constexpr const char* kSource = "Traeff and Hunold 2020";

constexpr AlgorithmRow row(const char* name, plan::Collective collective,
                           plan::Plan (*build)(const PlanRequest&),
                           double (*cost_ns)(const CostInput&), bool direct) {
  return {.name = name,
          .collective = collective,
          .source = kSource,
          .supports = direct ? two_levels_few_hosts : two_levels,
          .build = build,
          .cost_ns = cost_ns,
          .limits = direct ? kTwoLevelsFewHosts : kTwoLevels,
          .layered = true};
}

}  // namespace

constinit const AlgorithmRow kTwoLevelAllGather = row(
    kRingName, plan::Collective::kAllGather, build<add_gather, false>, gather_cost<false>, false);
constinit const AlgorithmRow kTwoLevelDirectAllGather = row(
    kDirectName, plan::Collective::kAllGather, build<add_gather, true>, gather_cost<true>, true);
constinit const AlgorithmRow kTwoLevelReduceScatter =
    row(kRingName, plan::Collective::kReduceScatter, build<add_scatter, false>, scatter_cost<false>,
        false);
constinit const AlgorithmRow kTwoLevelDirectReduceScatter =
    row(kDirectName, plan::Collective::kReduceScatter, build<add_scatter, true>, scatter_cost<true>,
        true);

}  // namespace tutti::planner
