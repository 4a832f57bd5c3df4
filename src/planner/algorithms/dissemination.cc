// SPDX-License-Identifier: Apache-2.0
// Dissemination barrier: in round b each rank signals the one 2^b ahead and waits for the one 2^b
// behind.
//
// Hensgen, Finkel and Manber, "Two algorithms for barrier synchronization", IJPP 17(1), 1988. n
// ranks: ceil(log2 n) hops and as many empty messages per rank. 1 slot is enough.
#include "src/planner/algorithms/builder.h"
#include "src/planner/algorithms/cost.h"
#include "src/planner/algorithms/hypercube.h"
#include "src/planner/algorithms/rows.h"

namespace tutti::planner {
namespace {

constexpr const char* kName = "dissemination";

plan::Plan barrier(const PlanRequest& request) {
  const int32_t n = request.n_ranks;
  if (n == 1) return local_plan(kName, request);
  PlanBuilder builder(kName, request, 0);
  for (int32_t rank = 0; rank < n; ++rank) {
    LaneBuilder lane = builder.lane(rank);
    for (int32_t distance = 1; distance < n; distance *= 2) {
      lane.signal((rank + distance) % n);
      lane.wait_for((rank + n - distance) % n);
    }
  }
  return builder.finish();
}

double cost(const CostInput& in) {
  const double rounds = ceil_log2(in.n_ranks);
  return time_ns(in, {.hops = rounds, .messages = rounds});
}

}  // namespace

constinit const AlgorithmRow kDisseminationBarrier{.name = kName,
                                                   .collective = plan::Collective::kBarrier,
                                                   .source = "Hensgen, Finkel and Manber 1988",
                                                   .supports = any_rank_count,
                                                   .build = barrier,
                                                   .cost_ns = cost};

}  // namespace tutti::planner
