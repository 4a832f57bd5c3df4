// SPDX-License-Identifier: Apache-2.0
// Small plans written by hand: the verifier's tests need plans that the planner did not make.
#pragma once

#include <functional>
#include <utility>
#include <vector>

#include "src/plan/plan.h"

namespace tutti::testing {

using plan::Buffer;
using plan::Collective;
using plan::Operand;
using plan::Plan;
using plan::Step;

inline Operand in(int32_t index) { return Operand::chunk(Buffer::kInput, index); }
inline Operand in_pre(int32_t index) { return Operand::chunk(Buffer::kInput, index, true); }
inline Operand out(int32_t index) { return Operand::chunk(Buffer::kOutput, index); }
inline Operand scratch(int32_t index) { return Operand::chunk(Buffer::kScratch, index); }
inline Operand peer(int32_t rank) { return Operand::peer(rank); }
using Operands = std::vector<Operand>;

inline Step step(Operands sinks, Operands sources, int32_t extent, bool post = false,
                 std::vector<plan::Wait> waits = {}) {
  return {std::move(sources), std::move(sinks), extent, post, std::move(waits)};
}
inline Step signal(int32_t to) { return step({peer(to)}, {}, plan::kNoExtent); }
inline Step await(int32_t from) { return step({}, {peer(from)}, plan::kNoExtent); }

inline Plan empty_plan(Collective collective, int32_t n_ranks, int32_t chunks_per_block,
                       size_t lanes = 1) {
  Plan plan;
  plan.algorithm = "by hand";
  plan.shape = {collective, n_ranks, 0, chunks_per_block};
  plan.slots = 2;
  plan.ranks.resize(n_ranks);
  for (auto& rank : plan.ranks) rank.lanes.resize(lanes);
  return plan;
}
inline std::vector<Step>& lane(Plan& plan, int32_t rank, size_t index = 0) {
  return plan.ranks[rank].lanes[index].steps;
}

// Two ranks swap their inputs and add.
inline Plan swap_all_reduce() {
  Plan plan = empty_plan(Collective::kAllReduce, 2, 1);
  for (int32_t r : {0, 1})
    lane(plan, r) = {step({peer(1 - r)}, {in_pre(0)}, 0),
                     step({out(0)}, {in_pre(0), peer(1 - r)}, 0, true)};
  return plan;
}

// Two ranks accumulate in the output, then swap: sound copied, racy referenced.
inline Plan doubling_all_reduce() {
  Plan plan = empty_plan(Collective::kAllReduce, 2, 1);
  for (int32_t r : {0, 1})
    lane(plan, r) = {step({out(0)}, {in_pre(0)}, 0), step({peer(1 - r)}, {out(0)}, 0),
                     step({out(0)}, {out(0), peer(1 - r)}, 0, true)};
  return plan;
}

// Ring, partial sums kept in the output and sent from there: a chunk changes again only after it
// went round.
inline Plan ring_all_reduce(int32_t n) {
  Plan plan = empty_plan(Collective::kAllReduce, n, n);
  for (int32_t r = 0; r < n; ++r) {
    const int32_t next = (r + 1) % n, prev = (r + n - 1) % n;
    auto& steps = lane(plan, r);
    steps.push_back(step({peer(next)}, {in_pre(r)}, r));
    for (int32_t k = 1; k < n; ++k) {
      const int32_t c = (r - k + n) % n;
      steps.push_back(step({out(c)}, {peer(prev), in_pre(c)}, c, k == n - 1));
      steps.push_back(step({peer(next)}, {out(c)}, c));
    }
    for (int32_t k = 0; k < n - 1; ++k) {
      const int32_t c = (r - k + n) % n;
      Operands sinks = {out(c)};
      if (k < n - 2) sinks.push_back(peer(next));
      steps.push_back(step(sinks, {peer(prev)}, c));
    }
  }
  return plan;
}

// Each rank multicasts its block; a second lane receives.
inline Plan direct_all_gather(int32_t n) {
  Plan plan = empty_plan(Collective::kAllGather, n, 1, 2);
  for (int32_t r = 0; r < n; ++r) {
    Operands sinks = {out(r)};
    for (int32_t d = 1; d < n; ++d) sinks.push_back(peer((r + d) % n));
    lane(plan, r, 0) = {step(sinks, {in(0)}, r)};
    for (int32_t d = 1; d < n; ++d) {
      const int32_t from = (r + d) % n;
      lane(plan, r, 1).push_back(step({out(from)}, {peer(from)}, from));
    }
  }
  return plan;
}

inline Plan chain_broadcast(int32_t n) {
  Plan plan = empty_plan(Collective::kBroadcast, n, 1);
  for (int32_t r = 0; r < n; ++r) {
    Operands sinks = {out(0)};
    if (r + 1 < n) sinks.push_back(peer(r + 1));
    lane(plan, r) = {step(sinks, {r == 0 ? in(0) : peer(r - 1)}, 0)};
  }
  return plan;
}

// One lane receives into scratch, another waits for it and reduces.
inline Plan two_lane_reduce() {
  Plan plan = empty_plan(Collective::kReduce, 2, 1, 2);
  plan.ranks[0].scratch_chunks = 1;
  lane(plan, 0, 0) = {step({scratch(0)}, {peer(1)}, 0)};
  lane(plan, 0, 1) = {step({out(0)}, {in_pre(0), scratch(0)}, 0, true, {{0, 0}})};
  lane(plan, 1, 0) = {step({peer(0)}, {in_pre(0)}, 0)};
  return plan;
}

inline Plan dissemination_barrier(int32_t n) {
  Plan plan = empty_plan(Collective::kBarrier, n, 0);
  for (int32_t r = 0; r < n; ++r)
    for (int32_t d = 1; d < n; d *= 2) {
      lane(plan, r).push_back(signal((r + d) % n));
      lane(plan, r).push_back(await((r + n - d) % n));
    }
  return plan;
}

inline Plan pairwise_all_to_all(int32_t n) {
  Plan plan = empty_plan(Collective::kAllToAll, n, 1);
  for (int32_t r = 0; r < n; ++r) {
    lane(plan, r).push_back(step({out(r)}, {in(r)}, r * n + r));
    for (int32_t d = 1; d < n; ++d) {
      const int32_t to = (r + d) % n, from = (r + n - d) % n;
      lane(plan, r).push_back(step({peer(to)}, {in(to)}, r * n + to));
      lane(plan, r).push_back(step({out(from)}, {peer(from)}, from * n + r));
    }
  }
  return plan;
}

// Everything goes to the root; every lane of the root takes one sender.
inline Plan direct_gather(int32_t n) {
  Plan plan = empty_plan(Collective::kGather, n, 2, n);
  for (int32_t r = 0; r < n; ++r)
    for (int32_t c : {0, 1}) {
      const int32_t extent = r * 2 + c;
      if (r == 0) {
        lane(plan, 0, 0).push_back(step({out(c)}, {in(c)}, extent));
      } else {
        lane(plan, r, 0).push_back(step({peer(0)}, {in(c)}, extent));
        lane(plan, 0, r).push_back(step({out(extent)}, {peer(r)}, extent));
      }
    }
  return plan;
}

// All of them, for tests that take any plan.
inline std::vector<Plan> hand_plans() {
  return {swap_all_reduce(),      doubling_all_reduce(),    ring_all_reduce(2),
          ring_all_reduce(3),     ring_all_reduce(5),       direct_all_gather(2),
          direct_all_gather(4),   chain_broadcast(1),       chain_broadcast(4),
          two_lane_reduce(),      dissemination_barrier(2), dissemination_barrier(5),
          pairwise_all_to_all(3), direct_gather(3)};
}

// Everybody owns a chunk. Contributions are added by the switch on their way to the owner (channel
// 0), sums are copied by it (channel 1). Lanes: the owner's, one for what goes to each rank, one
// for what comes from each.
inline Plan switch_all_reduce(int32_t n) {
  Plan plan = empty_plan(Collective::kAllReduce, n, n, 2 * static_cast<size_t>(n) + 1);
  plan.channels = 2;
  for (int32_t r = 0; r < n; ++r) {
    Operands sources, sinks = {out(r)};
    for (int32_t other = 0; other < n; ++other) {
      sources.push_back(other == r ? in_pre(r) : Operand::peer(other, 0));
      if (other == r) continue;
      sinks.push_back(Operand::peer(other, 1));
      lane(plan, r, 1 + other) = {step({Operand::peer(other, 0)}, {in_pre(other)}, other)};
      lane(plan, r, 1 + n + other) = {step({out(other)}, {Operand::peer(other, 1)}, other)};
    }
    lane(plan, r) = {step(sinks, sources, r, true)};
    plan.switch_channels.push_back({r, 0, plan::SwitchChannel::Kind::kReduce});
    plan.switch_channels.push_back({r, 1, plan::SwitchChannel::Kind::kMulticast});
  }
  return plan;
}

}  // namespace tutti::testing
