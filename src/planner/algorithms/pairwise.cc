// SPDX-License-Identifier: Apache-2.0
// Pairwise AllToAll: every pair of ranks exchanges its two blocks directly.
//
// Thakur, Rabenseifner and Gropp, "Optimization of collective communication operations in MPICH",
// IJHPCA 19(1), 2005. n ranks, S bytes per block: one hop, a rank sends S (n-1) in n-1 messages.
// One lane per peer and direction, so that no peer waits for another, whatever the sizes: a block
// is known to its two ends only, which is all that AllToAllv offers. 1 slot is enough.
// Reference-safe.
#include "src/planner/algorithms/builder.h"
#include "src/planner/algorithms/cost.h"
#include "src/planner/algorithms/rows.h"

namespace tutti::planner {
namespace {

constexpr const char* kName = "pairwise";

plan::Plan all_to_all(const PlanRequest& request) {
  const int32_t n = request.n_ranks;
  PlanBuilder builder(kName, request, 1);
  for (int32_t rank = 0; rank < n; ++rank) {
    LaneBuilder sends = builder.lane(rank);
    LaneBuilder receives = builder.lane(rank);
    for (const plan::Operand& other : all_peers(n, rank)) {
      sends.step(rank * n + other.index, {other}, {input()});
      receives.step(other.index * n + rank, {output()}, {other});
    }
    sends.step(rank * n + rank, {output()}, {input()});
  }
  builder.let_lanes_run_apart();
  return builder.finish();
}

double cost(const CostInput& in) {
  const double n = in.n_ranks;
  const double moved = static_cast<double>(in.bytes) * (2 * n - 1);
  return time_ns(in, {.hops = 1, .messages = n - 1, .written_bytes = moved, .read_bytes = moved});
}

}  // namespace

constinit const AlgorithmRow kPairwiseAllToAll{.name = kName,
                                               .collective = plan::Collective::kAllToAll,
                                               .source = "Thakur, Rabenseifner and Gropp 2005",
                                               .uneven = true,
                                               .supports = any_rank_count,
                                               .build = all_to_all,
                                               .cost_ns = cost};

}  // namespace tutti::planner
