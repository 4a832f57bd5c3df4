// SPDX-License-Identifier: Apache-2.0
// AllReduce on two levels: reduce-scatter on each host, all-reduce of each shard along its rail,
// all-gather on each host, fused.
//
// Mikami et al., "Massively distributed SGD: ImageNet/ResNet-50 training in a flash", 2018 (their
// 2D torus, where the columns are rails). h hosts, r rails (rails.h), S bytes; a block is r shards
// of h parts. The owner of a shard folds what its host's ranks send it with what comes along the
// rail, in one step, and what is finished it writes and hands out. Per host and direction 2 S
// (h-1)/h bytes cross the network, the least there is, by r ranks alike.
//
//   two_level         rings along the rails, `channels` of them, the odd ones backwards: a rank has
//                     one host ahead and one behind. 2 hops on the host, 2(h-1) between hosts
//   two_level_direct  each owner sends each part to where it is folded, and what is folded to all:
//                     2 hops on the host, 2 between hosts
//   two_level_halving recursive halving and doubling along the rails (butterfly.h), where there is
//                     a power of two of hosts: 2 hops on the host, 2 log2 h between hosts
//
// A member's contributions and an owner's results go by two channels, since they belong to two
// lanes. Reference-safe, in place too: a result comes only after the owner has consumed what lay
// there.
#include <vector>

#include "src/planner/algorithms/butterfly.h"
#include "src/planner/algorithms/cost.h"
#include "src/planner/algorithms/rails.h"
#include "src/planner/algorithms/rows.h"

namespace tutti::planner {
namespace {

// One channel of one rail at one host.
struct Shard {
  const Rails& rails;
  int32_t host;
  int32_t rail;
  int32_t channel;
  int32_t channels;

  int32_t owner() const { return rails.rank(host, rail); }
  int32_t extent(int32_t part) const { return (rail * rails.hosts() + part) * channels + channel; }
  plan::Operand at(int32_t other) const { return peer(rails.rank(other, rail), channel); }
  int32_t ahead(int32_t hops) const {
    const int32_t h = rails.hosts();
    return (host + (channel % 2 == 0 ? hops : h - hops)) % h;
  }
  plan::Operand next() const { return at(ahead(1)); }
  plan::Operand previous() const { return at(ahead(rails.hosts() - 1)); }
  // What the host contributes, behind what comes from others.
  Operands sum_with(const Operands& sources) const {
    return joined(sources, rails.contributions(owner(), channel));
  }
  int32_t result_channel() const { return channels + channel; }
};

// How a shard's owners work together.
struct Pattern {
  const char* name;
  // Parts in the order in which the owner at a host takes contributions, and finishes results.
  std::vector<int32_t> (*sums)(const Shard&);
  std::vector<int32_t> (*results)(const Shard&);
  void (*owner_lane)(LaneBuilder&, const Shard&);
};

// The part is finished and lies in the output: the host's others get it.
void hand_out(LaneBuilder& lane, const Shard& me, int32_t part) {
  const Operands others = me.rails.others(me.owner(), me.result_channel());
  if (!others.empty()) lane.step(me.extent(part), others, {output()});
}

// ---- along a ring: parts go by as in ring.cc, where a place is a host ----

// Parts that go by after `first` hops, h of them.
std::vector<int32_t> going_by(const Shard& me, int32_t first) {
  const int32_t h = me.rails.hosts();
  std::vector<int32_t> parts(static_cast<size_t>(h));
  for (int32_t s = 0; s < h; ++s) parts[static_cast<size_t>(s)] = me.ahead((2 * h - first - s) % h);
  return parts;
}
std::vector<int32_t> ring_sums(const Shard& me) { return going_by(me, 0); }
std::vector<int32_t> ring_results(const Shard& me) { return going_by(me, me.rails.hosts() - 1); }

void ring_lane(LaneBuilder& lane, const Shard& me) {
  const int32_t h = me.rails.hosts();
  const std::vector<int32_t> sums = ring_sums(me);
  lane.step(me.extent(sums.front()), {me.next()}, me.sum_with({}));
  for (int32_t s = 1; s < h - 1; ++s)
    lane.step(me.extent(sums[static_cast<size_t>(s)]), {me.next()}, me.sum_with({me.previous()}));
  lane.step(me.extent(sums.back()), {output(), me.next()}, me.sum_with({me.previous()}),
            Post::kYes);
  hand_out(lane, me, sums.back());

  const std::vector<int32_t> results = ring_results(me);
  for (int32_t s = 1; s < h; ++s) {
    const int32_t part = results[static_cast<size_t>(s)];
    Operands sinks{output()};
    if (s < h - 1) sinks.push_back(me.next());
    lane.step(me.extent(part), sinks, {me.previous()});
    hand_out(lane, me, part);
  }
}

// ---- directly ----

std::vector<int32_t> hosts_from(const Shard& me, int32_t first) {
  const int32_t h = me.rails.hosts();
  std::vector<int32_t> parts(static_cast<size_t>(h));
  for (int32_t i = 0; i < h; ++i) parts[static_cast<size_t>(i)] = (me.host + first + i) % h;
  return parts;
}
std::vector<int32_t> direct_sums(const Shard& me) { return hosts_from(me, 1); }
std::vector<int32_t> direct_results(const Shard& me) { return hosts_from(me, 0); }

void direct_lane(LaneBuilder& lane, const Shard& me) {
  Operands owners;
  for (int32_t i = 1; i < me.rails.hosts(); ++i)
    owners.push_back(me.at((me.host + i) % me.rails.hosts()));
  for (const int32_t part : direct_sums(me))
    if (part != me.host) lane.step(me.extent(part), {me.at(part)}, me.sum_with({}));
  lane.step(me.extent(me.host), joined({output()}, owners), me.sum_with(owners), Post::kYes);
  for (const int32_t part : direct_results(me)) {
    if (part != me.host) lane.step(me.extent(part), {output()}, {me.at(part)});
    hand_out(lane, me, part);
  }
}

// ---- plans ----

// What a rank sends to the owners of its host's other shards, and gets from them.
void add_member(PlanBuilder& builder, const Pattern& pattern, const Rails& rails, int32_t rank,
                Shard shard) {
  LaneBuilder gives = builder.lane(rank);
  const std::vector<int32_t> sums = pattern.sums(shard);
  const std::vector<int32_t> results = pattern.results(shard);
  const auto of_others = [&](const auto& visit) {
    for (int32_t i = 1; i <= rails.rails(); ++i) {
      shard.rail = (rails.place_of(rank) + i) % rails.rails();
      if (!rails.owns(rank, shard.rail)) visit();
    }
  };
  for (const int32_t part : sums)
    of_others([&] {
      gives.step(shard.extent(part), {peer(shard.owner(), shard.channel)}, {scaled_input()});
    });
  of_others([&] {
    LaneBuilder gets = builder.lane(rank);
    for (const int32_t part : results)
      gets.step(shard.extent(part), {output()}, {peer(shard.owner(), shard.result_channel())});
  });
}

plan::Plan all_reduce(const PlanRequest& request, const Pattern& pattern, int32_t channels) {
  const Rails rails(request);
  PlanBuilder builder(pattern.name, request, rails.rails() * rails.hosts() * channels);
  builder.set_tiles_in_flight(kTilesOnLevels);
  for (int32_t rank = 0; rank < request.n_ranks; ++rank) {
    for (int32_t channel = 0; channel < channels; ++channel) {
      const Shard shard{rails, rails.host_of(rank), rails.place_of(rank), channel, channels};
      if (shard.rail < rails.rails()) {
        LaneBuilder lane = builder.lane(rank);
        pattern.owner_lane(lane, shard);
      }
      if (rails.rails() > 1 || shard.rail > 0) add_member(builder, pattern, rails, rank, shard);
    }
  }
  return builder.finish();
}

constexpr Pattern kRing{"two_level", ring_sums, ring_results, ring_lane};
constexpr Pattern kDirect{"two_level_direct", direct_sums, direct_results, direct_lane};

plan::Plan ring(const PlanRequest& request) { return all_reduce(request, kRing, request.channels); }
plan::Plan direct(const PlanRequest& request) { return all_reduce(request, kDirect, 1); }

constexpr const char* kHalvingName = "two_level_halving";

plan::Plan halving(const PlanRequest& request) {
  const Rails rails(request);
  const Butterfly butterfly = hypercube_butterfly(floor_log2(rails.hosts()));
  PlanBuilder builder(kHalvingName, request, rails.rails() * rails.hosts());
  builder.set_tiles_in_flight(kTilesOnLevels);
  for (int32_t rail = 0; rail < rails.rails(); ++rail) {
    ReduceGroup group{.first_chunk = rail * rails.hosts(),
                      .result_channel = butterfly.rounds() + 1};
    for (int32_t host = 0; host < rails.hosts(); ++host) {
      group.ranks.push_back(rails.rank(host, rail));
      group.followers.emplace_back();
      for (const plan::Operand& other : rails.others(group.ranks.back()))
        group.followers.back().push_back(other.index);
    }
    add_all_reduce(builder, butterfly, group);
  }
  return builder.finish();
}

double cost(const CostInput& in, double far_hops) {
  const HostCounts n(in);
  const double others = n.local - 1;
  const double far_parts = 2 * (n.hosts - 1);
  const double moved =
      static_cast<double>(in.bytes) * (1 + 2 * others / n.local + far_parts / (n.hosts * n.local));
  return time_ns(in, {.hops = 2 + far_hops,
                      .messages = 2 * n.hosts * others + far_parts,
                      .written_bytes = moved,
                      .read_bytes = moved,
                      .streams = static_cast<int32_t>(n.local)});
}
double ring_cost(const CostInput& in) { return cost(in, 2 * (HostCounts(in).hosts - 1)); }
double direct_cost(const CostInput& in) { return cost(in, 2); }
double halving_cost(const CostInput& in) { return cost(in, 2 * HostCounts(in).log_hosts); }

constexpr const char* kSource = "Mikami et al. 2018";

constexpr AlgorithmRow row(const char* name, plan::Plan (*build)(const PlanRequest&),
                           double (*cost_ns)(const CostInput&),
                           bool (*supports)(const PlanRequest&), const char* limits) {
  return {.name = name,
          .collective = plan::Collective::kAllReduce,
          .source = kSource,
          .supports = supports,
          .build = build,
          .cost_ns = cost_ns,
          .limits = limits,
          .layered = true};
}

}  // namespace

constinit const AlgorithmRow kTwoLevelAllReduce =
    row(kRing.name, ring, ring_cost, two_levels, kTwoLevels);
constinit const AlgorithmRow kTwoLevelDirectAllReduce =
    row(kDirect.name, direct, direct_cost, two_levels_few_hosts, kTwoLevelsFewHosts);
constinit const AlgorithmRow kTwoLevelHalvingAllReduce =
    row(kHalvingName, halving, halving_cost, two_levels_power_of_two, kTwoLevelsPowerOfTwo);

}  // namespace tutti::planner
