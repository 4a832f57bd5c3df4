// SPDX-License-Identifier: Apache-2.0
// Recursive halving ReduceScatter: the first half of Rabenseifner's AllReduce.
//
// Thakur, Rabenseifner and Gropp, "Optimization of collective communication operations in MPICH",
// IJHPCA 19(1), 2005. n = 2^k ranks, S bytes per block: log2(n) hops, a rank sends S (n-1) in n-1
// messages, the first n/2 to the farthest rank. Unrolled per block (butterfly.h): one step folds
// all of a block's messages and passes the sum on, so there is no scratch. 1 slot is enough.
// Reference-safe: only raw inputs travel by reference, and only the own block may alias the output.
#include "src/planner/algorithms/builder.h"
#include "src/planner/algorithms/butterfly.h"
#include "src/planner/algorithms/rows.h"

namespace tutti::planner {
namespace {

constexpr const char* kName = "recursive_halving";

plan::Plan reduce_scatter(const PlanRequest& request) {
  if (request.n_ranks == 1) return local_plan(kName, request);
  return butterfly_reduce_scatter(kName, request, hypercube_butterfly(floor_log2(request.n_ranks)));
}

}  // namespace

constinit const AlgorithmRow kRecursiveHalvingReduceScatter{
    .name = kName,
    .collective = plan::Collective::kReduceScatter,
    .source = "Thakur, Rabenseifner and Gropp 2005",
    .supports = power_of_two,
    .build = reduce_scatter,
    .cost_ns = butterfly_reduce_scatter_cost,
    .limits = kPowerOfTwo};

}  // namespace tutti::planner
