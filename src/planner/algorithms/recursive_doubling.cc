// SPDX-License-Identifier: Apache-2.0
// Recursive doubling: in round b the pairs at distance 2^b exchange everything they have.
//
// Thakur, Rabenseifner and Gropp, "Optimization of collective communication operations in MPICH",
// IJHPCA 19(1), 2005.
//
// AllReduce, any n, S bytes, p the largest power of two up to n: log2(p) hops, a rank sends
// S log2(p) in log2(p) messages; each rank beyond p gives its input to a neighbour first and gets
// the result from it last (2 more hops). Both partners fold the same two rounded values, lower rank
// first, so that all ranks end with the same bits. The output is the accumulator, overwritten each
// round: reference-safe out of place, where only raw inputs travel by reference, not in place.
//
// AllGather, n = 2^k, S bytes per block: log2(n) hops, a rank sends S (n-1) in n-1 messages, one
// per block, unrolled per block (butterfly.h). Reference-safe, in place too.
//
// 1 slot is enough for both.
#include "src/planner/algorithms/builder.h"
#include "src/planner/algorithms/butterfly.h"
#include "src/planner/algorithms/cost.h"
#include "src/planner/algorithms/hypercube.h"
#include "src/planner/algorithms/rows.h"

namespace tutti::planner {
namespace {

constexpr const char* kName = "recursive_doubling";

void all_reduce_lane(LaneBuilder lane, const Cube& cube, int32_t corner) {
  const auto partner = [&](int32_t bit) { return peer(cube.rank_of(corner ^ (1 << bit))); };
  const int32_t extra = cube.extra_of(corner);

  Operands contributions{scaled_input()};
  if (extra >= 0) contributions.insert(contributions.begin(), peer(extra));
  lane.step(0, {output(), partner(0)}, contributions);

  for (int32_t b = 0; b < cube.bits; ++b) {
    const bool upper = (corner >> b) % 2 != 0;
    const bool last = b + 1 == cube.bits;
    Operands sinks{output()};
    if (!last) sinks.push_back(partner(b + 1));
    if (last && extra >= 0) sinks.push_back(peer(extra));
    lane.step(0, sinks, upper ? Operands{partner(b), output()} : Operands{output(), partner(b)},
              last ? Post::kYes : Post::kNo);
  }
}

plan::Plan all_reduce(const PlanRequest& request) {
  if (request.n_ranks == 1) return local_plan(kName, request);
  const Cube cube(request.n_ranks);
  PlanBuilder builder(kName, request, 1);
  for (int32_t corner = 0; corner < cube.corners; ++corner) {
    all_reduce_lane(builder.lane(cube.rank_of(corner)), cube, corner);
    if (cube.extra_of(corner) < 0) continue;
    LaneBuilder extra = builder.lane(cube.extra_of(corner));
    extra.step(0, {peer(cube.rank_of(corner))}, {scaled_input()});
    extra.step(0, {output()}, {peer(cube.rank_of(corner))});
  }
  return builder.finish();
}

plan::Plan all_gather(const PlanRequest& request) {
  if (request.n_ranks == 1) return local_plan(kName, request);
  return butterfly_all_gather(kName, request, hypercube_butterfly(floor_log2(request.n_ranks)));
}

double all_reduce_cost(const CostInput& in) {
  const Cube cube(in.n_ranks);
  const double folded = static_cast<double>(cube.extras) / in.n_ranks;
  const double moved = static_cast<double>(in.bytes) * (1 + 2 * cube.bits + 2 * folded);
  return time_ns(in, {.hops = static_cast<double>(cube.bits) + (cube.extras > 0 ? 2 : 0),
                      .messages = cube.bits + 2 * folded,
                      .written_bytes = moved,
                      .read_bytes = moved});
}

constexpr const char* kSource = "Thakur, Rabenseifner and Gropp 2005";

}  // namespace

constinit const AlgorithmRow kRecursiveDoublingAllReduce{.name = kName,
                                                         .collective = plan::Collective::kAllReduce,
                                                         .source = kSource,
                                                         .supports = any_rank_count,
                                                         .build = all_reduce,
                                                         .cost_ns = all_reduce_cost};
constinit const AlgorithmRow kRecursiveDoublingAllGather{.name = kName,
                                                         .collective = plan::Collective::kAllGather,
                                                         .source = kSource,
                                                         .supports = power_of_two,
                                                         .build = all_gather,
                                                         .cost_ns = butterfly_all_gather_cost,
                                                         .limits = kPowerOfTwo};

}  // namespace tutti::planner
