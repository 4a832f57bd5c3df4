// SPDX-License-Identifier: Apache-2.0
// Recursive halving, then recursive doubling: reduce-scatter and all-gather in log2(n) rounds each.
//
// Rabenseifner, "Optimization of collective reduction operations", ICCS 2004; Thakur, Rabenseifner
// and Gropp, IJHPCA 19(1), 2005. n ranks, S bytes, p the largest power of two up to n; p chunks.
// 2 log2(p) hops, a rank sends 2 S (p-1)/p in 2(p-1) messages. Each rank beyond p sends its input
// (S) to a neighbour first and gets the result (S) from it last: 2 more hops.
//
// The rounds are unrolled per chunk: where the textbook adds each round's message to an
// accumulator, one step here folds a chunk's messages of all rounds and sends the sum on, so that a
// chunk is read once and needs no scratch. At corner v of the cube, chunk c has offset x = v ^ c:
// it arrives along the bits above x's top bit and leaves along the top bit.
//
// Needs 2 slots, for the turn from halving to doubling (see bit_reversed for the rest).
// Reference-safe, in place too: a result only arrives for a chunk whose earlier message has been
// consumed.
#include <algorithm>

#include "src/planner/algorithms/builder.h"
#include "src/planner/algorithms/cost.h"
#include "src/planner/algorithms/hypercube.h"
#include "src/planner/algorithms/rows.h"

namespace tutti::planner {
namespace {

constexpr const char* kName = "halving_doubling";

void corner_lane(LaneBuilder lane, const Cube& cube, int32_t corner) {
  const auto partner = [&](int32_t bit) { return peer(cube.rank_of(corner ^ (1 << bit))); };
  const int32_t extra = cube.extra_of(corner);
  std::vector<int32_t> offsets = bit_reversed(cube.bits);
  const auto others = [&](int32_t offset) {
    Operands peers;
    if (extra >= 0) peers.push_back(peer(extra));
    for (int32_t b = first_bit_above(offset); b < cube.bits; ++b) peers.push_back(partner(b));
    return peers;
  };

  for (auto x = offsets.rbegin(); x != offsets.rend(); ++x) {
    Operands contributions = others(*x);
    contributions.push_back(scaled_input());
    if (*x != 0) {
      lane.step(corner ^ *x, {partner(top_bit(*x))}, contributions);
    } else {
      Operands everyone = others(0);
      everyone.insert(everyone.begin(), output());
      lane.step(corner, everyone, contributions, Post::kYes);
    }
  }
  for (auto x = offsets.begin() + 1; x != offsets.end(); ++x) {
    Operands sinks = others(*x);
    sinks.insert(sinks.begin(), output());
    lane.step(corner ^ *x, sinks, {partner(top_bit(*x))});
  }
}

// Sends and receives chunks in the order in which its corner handles them.
void extra_lane(LaneBuilder lane, const Cube& cube, int32_t corner) {
  const plan::Operand stand_in = peer(cube.rank_of(corner));
  const std::vector<int32_t> offsets = bit_reversed(cube.bits);
  for (auto x = offsets.rbegin(); x != offsets.rend(); ++x)
    lane.step(corner ^ *x, {stand_in}, {scaled_input()});
  for (const int32_t x : offsets) lane.step(corner ^ x, {output()}, {stand_in});
}

plan::Plan all_reduce(const PlanRequest& request) {
  if (request.n_ranks == 1) return local_plan(kName, request);
  const Cube cube(request.n_ranks);
  PlanBuilder builder(kName, request, cube.corners());
  for (int32_t corner = 0; corner < cube.corners(); ++corner) {
    corner_lane(builder.lane(cube.rank_of(corner)), cube, corner);
    const int32_t extra = cube.extra_of(corner);
    if (extra >= 0) extra_lane(builder.lane(extra), cube, corner);
  }
  return builder.finish();
}

double cost(const CostInput& in) {
  const Cube cube(in.n_ranks);
  const double p = cube.corners();
  const double folded = static_cast<double>(cube.extras) / in.n_ranks;
  const double moved = static_cast<double>(in.bytes) * (1 + 2 * (p - 1) / p + 2 * folded);
  return time_ns(in, {.hops = 2.0 * cube.bits + (cube.extras > 0 ? 2 : 0),
                      .messages = 2 * (p - 1) + 2 * p * folded,
                      .written_bytes = moved,
                      .read_bytes = moved});
}

}  // namespace

constinit const AlgorithmRow kHalvingDoublingAllReduce{.name = kName,
                                                       .collective = plan::Collective::kAllReduce,
                                                       .source = "Rabenseifner 2004",
                                                       .supports = any_rank_count,
                                                       .build = all_reduce,
                                                       .cost_ns = cost};

}  // namespace tutti::planner
