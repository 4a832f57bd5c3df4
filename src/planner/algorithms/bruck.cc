// SPDX-License-Identifier: Apache-2.0
// Bruck's AllGather: recursive doubling around a circle, for any number of ranks.
//
// Bruck, Ho, Kipnis, Upfal and Weathersby, "Efficient algorithms for all-to-all communications in
// multiport message-passing systems", IEEE TPDS 8(11), 1997. n ranks, S bytes per block: ceil(log2
// n) hops, a rank sends S (n-1) in n-1 messages, one per block, straight to its place in the
// output: no scratch and no final rotation. In round b a rank sends 2^b back what it has, to ranks
// that do not have it yet (butterfly.h). 1 slot is enough. Reference-safe, in place too.
#include <utility>

#include "src/planner/algorithms/builder.h"
#include "src/planner/algorithms/butterfly.h"
#include "src/planner/algorithms/rows.h"

namespace tutti::planner {
namespace {

constexpr const char* kName = "bruck";

plan::Plan all_gather(const PlanRequest& request) {
  const int32_t n = request.n_ranks;
  if (n == 1) return local_plan(kName, request);
  Butterfly::Partners to;
  for (int32_t distance = 1; distance < n; distance *= 2) {
    std::vector<int32_t>& round = to.emplace_back();
    for (int32_t rank = 0; rank < n; ++rank) round.push_back((rank + n - distance) % n);
  }
  return butterfly_all_gather(kName, request, Butterfly(std::move(to)));
}

}  // namespace

constinit const AlgorithmRow kBruckAllGather{.name = kName,
                                             .collective = plan::Collective::kAllGather,
                                             .source = "Bruck et al. 1997",
                                             .supports = any_rank_count,
                                             .build = all_gather,
                                             .cost_ns = butterfly_all_gather_cost};

}  // namespace tutti::planner
