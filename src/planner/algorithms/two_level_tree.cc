// SPDX-License-Identifier: Apache-2.0
// Small messages on two levels: one rank of each host speaks for it.
//
// Karonis et al., "Exploiting hierarchy in parallel computer networks to optimize collective
// operation performance", IPDPS 2000: few messages cross the network, as few as possible one after
// the other. h hosts, S bytes; the first rank of a host leads it, or the root.
//
//   AllReduce  the leader folds its host's contributions, leaders double recursively
//              (recursive_doubling.cc; lower host first, so that all get the same bits), and hand
//              the result out: 2 hops on the host, log2 h between hosts, 2 more where h is no power
//              of two; a leader sends S log2 p bytes, p the largest power of two up to h
//   Broadcast, Reduce  a binomial tree of leaders from the root's host: ceil(log2 h) hops between
//              hosts, S bytes into (Reduce: out of) each host but the root's, the least there is
//   Barrier    leaders disseminate: ceil(log2 h) hops between hosts, 2 on the host
//
// 1 slot is enough. Reference-safe, in place too but for AllReduce, whose output is the
// accumulator.
#include "src/planner/algorithms/cost.h"
#include "src/planner/algorithms/hypercube.h"
#include "src/planner/algorithms/rails.h"
#include "src/planner/algorithms/rows.h"

namespace tutti::planner {
namespace {

constexpr const char* kName = "two_level_tree";
constexpr const char* kBarrierName = "two_level";

// ---- AllReduce ----

void leader_lane(LaneBuilder lane, const Rails& rails, const Cube& cube, int32_t corner) {
  const auto leader_of = [&](int32_t host) { return peer(rails.rank(host, 0)); };
  const auto partner = [&](int32_t bit) { return leader_of(cube.rank_of(corner ^ (1 << bit))); };
  const int32_t me = rails.rank(cube.rank_of(corner), 0);
  Operands extra;
  if (cube.extra_of(corner) >= 0) extra.push_back(leader_of(cube.extra_of(corner)));
  const Operands results = joined(extra, rails.others(me));

  lane.step(0, {output(), partner(0)}, joined(extra, rails.contributions(me)));
  for (int32_t b = 0; b < cube.bits; ++b) {
    const bool upper = (corner >> b) % 2 != 0;
    const bool last = b + 1 == cube.bits;
    const Operands next = last ? results : Operands{partner(b + 1)};
    lane.step(0, joined({output()}, next),
              upper ? Operands{partner(b), output()} : Operands{output(), partner(b)},
              last ? Post::kYes : Post::kNo);
  }
}

// The leader of a host for which another stands in.
void extra_lane(LaneBuilder lane, const Rails& rails, int32_t host, int32_t corner_host) {
  const plan::Operand corner = peer(rails.rank(corner_host, 0));
  const int32_t me = rails.rank(host, 0);
  lane.step(0, {corner}, rails.contributions(me));
  lane.step(0, joined({output()}, rails.others(me)), {corner});
}

// The rest of a host: contributions to the leader, and the result from it.
void add_members(PlanBuilder& builder, const Rails& rails, int32_t host) {
  const int32_t leader = rails.rank(host, 0);
  for (const plan::Operand& member : rails.others(leader)) {
    LaneBuilder lane = builder.lane(member.index);
    lane.step(0, {peer(leader)}, {scaled_input()});
    lane.step(0, {output()}, {peer(leader)});
  }
}

plan::Plan all_reduce(const PlanRequest& request) {
  const Rails rails(request);
  const Cube cube(rails.hosts());
  PlanBuilder builder(kName, request, 1);
  for (int32_t corner = 0; corner < cube.corners; ++corner) {
    const int32_t host = cube.rank_of(corner);
    leader_lane(builder.lane(rails.rank(host, 0)), rails, cube, corner);
    const int32_t extra = cube.extra_of(corner);
    if (extra >= 0) extra_lane(builder.lane(rails.rank(extra, 0)), rails, extra, host);
  }
  for (int32_t host = 0; host < rails.hosts(); ++host) add_members(builder, rails, host);
  return builder.finish();
}

// ---- Broadcast and Reduce ----

// A host's place in the binomial tree, see binomial.cc; 0 is the root's.
struct Leader {
  const Rails& rails;
  int32_t root_host;
  int32_t host;

  int32_t v() const { return (host - root_host + rails.hosts()) % rails.hosts(); }
  int32_t rank() const { return rails.rank(host, 0); }
  plan::Operand at(int32_t place) const {
    return peer(rails.rank((place + root_host) % rails.hosts(), 0));
  }
  plan::Operand parent() const { return at(v() & (v() - 1)); }
  Operands children() const {
    const int32_t h = rails.hosts();
    Operands peers;
    for (int32_t d = 1; v() + d < h && (v() == 0 || d < (v() & -v())); d *= 2)
      peers.insert(peers.begin(), at(v() + d));  // the largest subtree first
    return peers;
  }
};

void broadcast_host(PlanBuilder& builder, const Leader& me) {
  const Operands members = me.rails.others(me.rank());
  const Operands sinks = joined(joined({output()}, me.children()), members);
  builder.lane(me.rank()).step(0, sinks, {me.v() == 0 ? input() : me.parent()});
  for (const plan::Operand& member : members)
    builder.lane(member.index).step(0, {output()}, {peer(me.rank())});
}

void reduce_host(PlanBuilder& builder, const Leader& me) {
  const bool root = me.v() == 0;
  builder.lane(me.rank()).step(0, {root ? output() : me.parent()},
                               joined(me.rails.contributions(me.rank()), me.children()),
                               root ? Post::kYes : Post::kNo);
  for (const plan::Operand& member : me.rails.others(me.rank()))
    builder.lane(member.index).step(0, {peer(me.rank())}, {scaled_input()});
}

template <void (*kAdd)(PlanBuilder&, const Leader&)>
plan::Plan rooted(const PlanRequest& request) {
  Rails rails(request);
  rails.put_first(request.root);
  PlanBuilder builder(kName, request, 1);
  for (int32_t host = 0; host < rails.hosts(); ++host)
    kAdd(builder, {rails, rails.host_of(request.root), host});
  return builder.finish();
}

// ---- Barrier ----

plan::Plan barrier(const PlanRequest& request) {
  const Rails rails(request);
  const int32_t h = rails.hosts();
  PlanBuilder builder(kBarrierName, request, 0);
  for (int32_t host = 0; host < h; ++host) {
    const int32_t leader = rails.rank(host, 0);
    const Operands members = rails.others(leader);
    LaneBuilder lane = builder.lane(leader);
    for (const plan::Operand& member : members) lane.wait_for(member.index);
    for (int32_t distance = 1; distance < h; distance *= 2) {
      lane.signal(rails.rank((host + distance) % h, 0));
      lane.wait_for(rails.rank((host + h - distance) % h, 0));
    }
    for (const plan::Operand& member : members) {
      lane.signal(member.index);
      LaneBuilder other = builder.lane(member.index);
      other.signal(leader);
      other.wait_for(leader);
    }
  }
  return builder.finish();
}

// ---- costs: means over the ranks, of which one per host leads ----

double all_reduce_cost(const CostInput& in) {
  const HostCounts n(in);
  const double moved =
      static_cast<double>(in.bytes) * (2 * (n.local - 1) / n.local + 1 + 2 * n.log_hosts / n.local);
  return time_ns(in, {.hops = 2 + n.log_hosts,
                      .messages = (2 * (n.local - 1) + n.log_hosts) / n.local,
                      .written_bytes = moved,
                      .read_bytes = moved,
                      .streams = static_cast<int32_t>(n.local)});
}

double rooted_cost(const CostInput& in, double written, double read) {
  const HostCounts n(in);
  const auto block = static_cast<double>(in.bytes);
  return time_ns(in, {.hops = 1 + n.log_hosts,
                      .messages = 1,
                      .written_bytes = block * written,
                      .read_bytes = block * read,
                      .streams = static_cast<int32_t>(n.local)});
}
double broadcast_cost(const CostInput& in) { return rooted_cost(in, 2, 1); }
double reduce_cost(const CostInput& in) { return rooted_cost(in, 1, 2); }

double barrier_cost(const CostInput& in) {
  const HostCounts n(in);
  return time_ns(
      in, {.hops = 2 + n.log_hosts, .messages = (2 * (n.local - 1) + n.log_hosts) / n.local});
}

constexpr AlgorithmRow row(const char* name, plan::Collective collective,
                           plan::Plan (*build)(const PlanRequest&),
                           double (*cost_ns)(const CostInput&)) {
  return {.name = name,
          .collective = collective,
          .source = "Karonis et al. 2000",
          .supports = two_levels,
          .build = build,
          .cost_ns = cost_ns,
          .limits = kTwoLevels,
          .layered = true};
}

}  // namespace

constinit const AlgorithmRow kTwoLevelTreeAllReduce =
    row(kName, plan::Collective::kAllReduce, all_reduce, all_reduce_cost);
constinit const AlgorithmRow kTwoLevelTreeBroadcast =
    row(kName, plan::Collective::kBroadcast, rooted<broadcast_host>, broadcast_cost);
constinit const AlgorithmRow kTwoLevelTreeReduce =
    row(kName, plan::Collective::kReduce, rooted<reduce_host>, reduce_cost);
constinit const AlgorithmRow kTwoLevelBarrier =
    row(kBarrierName, plan::Collective::kBarrier, barrier, barrier_cost);

}  // namespace tutti::planner
