// SPDX-License-Identifier: Apache-2.0
// Bruck's AllGather: recursive doubling around a circle, for any number of ranks.
//
// Bruck, Ho, Kipnis, Upfal and Weathersby, "Efficient algorithms for all-to-all communications in
// multiport message-passing systems", IEEE TPDS 8(11), 1997. n ranks, S bytes per block: ceil(log2
// n) hops, a rank sends S (n-1) in n-1 messages, one per block, straight to its place in the
// output: no scratch and no final rotation. In round b a rank sends 2^b back what it has: block
// rank + x arrives from 2^b ahead for the top bit b of x, and goes on along the bits above, to
// ranks that see it at x + 2^b < n. 1 slot is enough (see bit_reversed). Reference-safe.
#include "src/planner/algorithms/builder.h"
#include "src/planner/algorithms/cost.h"
#include "src/planner/algorithms/hypercube.h"
#include "src/planner/algorithms/rows.h"

namespace tutti::planner {
namespace {

constexpr const char* kName = "bruck";

void rank_lane(LaneBuilder lane, int32_t n, int32_t rank) {
  for (const int32_t x : bit_reversed(ceil_log2(n))) {
    if (x >= n) continue;
    Operands sinks{output()};
    for (int32_t b = first_bit_above(x); x + (1 << b) < n; ++b) {
      sinks.push_back(peer((rank + n - (1 << b)) % n));
    }
    lane.step((rank + x) % n, sinks, {x == 0 ? input() : peer((rank + (1 << top_bit(x))) % n)});
  }
}

plan::Plan all_gather(const PlanRequest& request) {
  if (request.n_ranks == 1) return local_plan(kName, request);
  PlanBuilder builder(kName, request, 1);
  for (int32_t rank = 0; rank < request.n_ranks; ++rank)
    rank_lane(builder.lane(rank), request.n_ranks, rank);
  return builder.finish();
}

double cost(const CostInput& in) {
  const double n = in.n_ranks;
  const auto block = static_cast<double>(in.bytes);
  return time_ns(in, {.hops = static_cast<double>(ceil_log2(in.n_ranks)),
                      .messages = n - 1,
                      .written_bytes = block * (2 * n - 1),
                      .read_bytes = block * n});
}

}  // namespace

constinit const AlgorithmRow kBruckAllGather{.name = kName,
                                             .collective = plan::Collective::kAllGather,
                                             .source = "Bruck et al. 1997",
                                             .supports = any_rank_count,
                                             .build = all_gather,
                                             .cost_ns = cost};

}  // namespace tutti::planner
