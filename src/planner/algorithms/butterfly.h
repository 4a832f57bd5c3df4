// SPDX-License-Identifier: Apache-2.0
// Butterflies: all-gather and reduce-scatter in a logarithmic number of rounds, in which every rank
// sends to one other all that it has.
//
// Seen from a block, a butterfly is a binomial tree: the block starts at the place that it belongs
// to, and in each round goes on from all places that have it. The offset of a place from the block
// is the set of rounds that brought it there, as bits: the block came in round top_bit(offset),
// and goes on in the rounds above. Reduce-scatter runs the trees backwards, from the leaves to
// where each block belongs.
//
// A message carries one block, so a round in which a rank passes on 2^b blocks is 2^b messages, and
// a rank's rounds are unrolled per block: one step folds all messages of a block, whichever rounds
// they belong to, or sends it on in all of them. A block is read once and needs no scratch.
//
// Stage s of a rank is what comes in round s - 1; stage 0 is its own block. Each stage is a lane,
// so that blocks of later stages do not wait for those of earlier ones: the steps of a stage all
// end the same number of messages after the start, and the longest chain is one message per round.
// An end of a connection belongs to one lane, so the blocks that a place sends in a round go by the
// channel of the stage (all-gather: at the sender, reduce-scatter: at the receiver): with r rounds,
// r (r + 1) / 2 connections per rank each way.
//
// 1 slot is enough. Lanes handle their blocks in the order of the bit-reversed offsets
// (reduce-scatter: backwards). Run the offsets one by one in that order, each at all places: what
// has come, came from an offset without the top bit (backwards: with one more bit), which is
// earlier. And a channel is empty when it is sent to: its blocks have offsets with the same top
// bit, say j, so the order of two of them is that of their lowest j + 1 bits; what consumes them
// has the same lowest bits, one more above, and comes after the block that it consumes and before
// the next one of the channel. One schedule that finishes is all it takes
// (docs/design/verifier.md). With s slots a rank waits whenever a round of more than s blocks for
// one stage is under way, n / (4 s) times in the largest; slots that cover a round trip cost
// nothing.
#pragma once

#include <cstdint>
#include <vector>

#include "src/planner/algorithms/hypercube.h"
#include "src/planner/planner.h"

namespace tutti::planner {

class PlanBuilder;

class Butterfly {
 public:
  // By round and place: whom the place sends to. A round is a permutation of the places, the
  // permutations look alike from each place, and no place sends to another in two rounds.
  using Partners = std::vector<std::vector<int32_t>>;

  // A place takes a block from whichever round brings it first.
  explicit Butterfly(Partners to);
  // A place takes a block only at the offsets given, one for each place; with an offset, what is
  // left without its top bit is one too.
  Butterfly(Partners to, std::vector<bool> offsets);

  int32_t places() const { return static_cast<int32_t>(to_.front().size()); }
  int32_t rounds() const { return static_cast<int32_t>(to_.size()); }

  // A block at a place.
  struct Visit {
    int32_t block = 0;             // the place that it belongs to
    int32_t stage = 0;             // 0 there, otherwise the round that brings it, plus 1
    int32_t nearer = -1;           // the place that has it from before; -1 in stage 0
    int32_t nearer_stage = -1;     // the block's there
    std::vector<int32_t> farther;  // places that have it from here, by round
  };
  // Every block once, in the order of an all-gather; the stages' own orders follow from it.
  std::vector<Visit> visits(int32_t place) const;

 private:
  int32_t block_at(int32_t place, int32_t offset) const;

  Partners to_;
  Partners from_;              // the inverses
  std::vector<bool> offsets_;  // that are in use, by offset
};

// Partners at the distances 2^0, 2^1, ... across a hypercube of 2^bits places.
Butterfly hypercube_butterfly(int32_t bits);

// Of one block per place, or (all-reduce) of one chunk per corner. The number of ranks is that of
// places, or more where `folded`: those send their contribution first and get the result last.
plan::Plan butterfly_all_gather(const char* name, const PlanRequest& request,
                                const Butterfly& butterfly);
plan::Plan butterfly_reduce_scatter(const char* name, const PlanRequest& request,
                                    const Butterfly& butterfly);
plan::Plan butterfly_all_reduce(const char* name, const PlanRequest& request,
                                const Butterfly& butterfly, const Folded& folded);

// Ranks at the places of a butterfly that reduce as many chunks, from `first_chunk` on; each stands
// in for its followers.
struct ReduceGroup {
  std::vector<int32_t> ranks = {};                   // by place
  std::vector<std::vector<int32_t>> followers = {};  // by place
  int32_t first_chunk = 0;
  // Followers get results from this channel on. What they contribute goes by the channels below
  // rounds + 1, so where two of them stand in for each other it is at least that.
  int32_t result_channel = 0;
};
void add_all_reduce(PlanBuilder& builder, const Butterfly& butterfly, const ReduceGroup& group);

// n ranks, S bytes per block: ceil(log2 n) hops, n-1 messages, S (n-1) bytes sent.
double butterfly_all_gather_cost(const CostInput& in);
double butterfly_reduce_scatter_cost(const CostInput& in);
// c corners, S bytes: 2 ceil(log2 c) hops, 2(c-1) messages, 2 S (c-1)/c bytes. Where ranks are
// folded, 2 hops more; each of those sends S in c messages and gets as much.
double butterfly_all_reduce_cost(const CostInput& in, const Folded& folded);

}  // namespace tutti::planner
