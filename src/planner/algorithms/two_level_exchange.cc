// SPDX-License-Identifier: Apache-2.0
// AllToAll on two levels: what several ranks of a host have for one rank elsewhere leaves by one of
// them.
//
// The relaying of NCCL's PXN. h hosts, m ranks on each, S bytes per block. A block for the rank at
// place p of another host goes to the rank at place p (modulo the host's size) of the sender's own
// host, which owns that rail, and from there to its destination. A rank sends to one rank per other
// host instead of to all, so it has h-1 connections by network instead of (h-1) m, and what goes by
// one of them, m blocks one right after the other, can share packets. The bytes that cross are the
// same, S m^2 (h-1) per host and direction, which is the least; those that are relayed are copied
// once more. 2 hops, one of them between hosts. Relays have no memory for blocks: they pass on from
// slot to slot. Reference-safe.
#include <vector>

#include "src/planner/algorithms/cost.h"
#include "src/planner/algorithms/rails.h"
#include "src/planner/algorithms/rows.h"

namespace tutti::planner {
namespace {

constexpr const char* kName = "two_level";
constexpr int32_t kForRelay = 1;  // the channel of blocks that are to be passed on

class Exchange {
 public:
  Exchange(const Rails& rails, PlanBuilder* builder, int32_t n_ranks)
      : rails_(rails), builder_(*builder), n_(n_ranks) {}

  void add(int32_t rank) {
    add_sends(rank);
    add_relay(rank);
    add_local_receives(rank);
    for (int32_t i = 1; i < rails_.hosts(); ++i)
      add_receives(rank, (rails_.host_of(rank) + rails_.hosts() - i) % rails_.hosts());
  }

 private:
  int32_t extent(int32_t from, int32_t to) const { return from * n_ + to; }
  // Who passes on what `host` has for `to`.
  int32_t relay(int32_t host, int32_t to) const {
    return rails_.rank(host, rails_.place_of(to) % rails_.size(host));
  }
  // Ranks on other hosts, the nearest host first.
  std::vector<int32_t> elsewhere(int32_t host) const {
    std::vector<int32_t> ranks;
    for (int32_t i = 1; i < rails_.hosts(); ++i)
      for (const int32_t rank : rails_.ranks((host + i) % rails_.hosts())) ranks.push_back(rank);
    return ranks;
  }

  // What goes to the host's others, for them to pass on first.
  void add_sends(int32_t rank) {
    const int32_t host = rails_.host_of(rank);
    LaneBuilder relayed = builder_.lane(rank);
    for (const int32_t to : elsewhere(host)) {
      const int32_t by = relay(host, to);
      if (by != rank) relayed.step(extent(rank, to), {peer(by, kForRelay)}, {input()});
    }
    LaneBuilder local = builder_.lane(rank);
    for (const plan::Operand& other : rails_.others(rank))
      local.step(extent(rank, other.index), {other}, {input()});
    local.step(extent(rank, rank), {output()}, {input()});
  }

  // What leaves the host by this rank: its own blocks and its host's others'.
  void add_relay(int32_t rank) {
    const int32_t host = rails_.host_of(rank);
    LaneBuilder lane = builder_.lane(rank);
    for (const int32_t to : elsewhere(host)) {
      if (relay(host, to) != rank) continue;
      for (const int32_t from : rails_.ranks(host))
        lane.step(extent(from, to), {peer(to)}, {from == rank ? input() : peer(from, kForRelay)});
    }
  }

  void add_local_receives(int32_t rank) {
    LaneBuilder lane = builder_.lane(rank);
    for (const plan::Operand& other : rails_.others(rank))
      lane.step(extent(other.index, rank), {output()}, {other});
  }

  void add_receives(int32_t rank, int32_t host) {
    LaneBuilder lane = builder_.lane(rank);
    for (const int32_t from : rails_.ranks(host))
      lane.step(extent(from, rank), {output()}, {peer(relay(host, rank))});
  }

  const Rails& rails_;
  PlanBuilder& builder_;
  int32_t n_;
};

plan::Plan all_to_all(const PlanRequest& request) {
  const Rails rails(request);
  PlanBuilder builder(kName, request, 1);
  Exchange exchange(rails, &builder, request.n_ranks);
  for (int32_t rank = 0; rank < request.n_ranks; ++rank) exchange.add(rank);
  builder.set_tiles_in_flight(kTilesOnLevels);
  return builder.finish();
}

// Of n - m blocks for other hosts all but an m-th go by another rank.
double cost(const CostInput& in) {
  const HostCounts n(in);
  const double ranks = n.hosts * n.local;
  const double relayed = (ranks - n.local) * (n.local - 1) / n.local;
  const double moved = static_cast<double>(in.bytes) * (2 * ranks - 1 + relayed);
  return time_ns(
      in,
      {.hops = 2, .messages = ranks - 1 + relayed, .written_bytes = moved, .read_bytes = moved});
}

}  // namespace

constinit const AlgorithmRow kTwoLevelAllToAll{.name = kName,
                                               .collective = plan::Collective::kAllToAll,
                                               .source = "NCCL's PXN",
                                               .supports = two_levels,
                                               .build = all_to_all,
                                               .cost_ns = cost,
                                               .limits = kTwoLevels,
                                               .layered = true};

}  // namespace tutti::planner
