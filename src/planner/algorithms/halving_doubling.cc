// SPDX-License-Identifier: Apache-2.0
// Recursive halving, then recursive doubling: reduce-scatter and all-gather in log2(n) rounds each.
//
// Rabenseifner, "Optimization of collective reduction operations", ICCS 2004; Thakur, Rabenseifner
// and Gropp, IJHPCA 19(1), 2005. n ranks, S bytes, p the largest power of two up to n; p chunks.
// 2 log2(p) hops, a rank sends 2 S (p-1)/p in 2(p-1) messages. Each rank beyond p sends its input
// (S) to a neighbour first and gets the result (S) from it last: 2 more hops.
//
// A butterfly across the cube (butterfly.h), backwards and forwards: where the textbook adds each
// round's message to an accumulator, one step here folds a chunk's messages of all rounds. At
// corner v chunk c has offset v ^ c: the halves go first to the farthest corner. 1 slot is enough.
// Reference-safe, in place too: a result only arrives for a chunk whose earlier message has been
// consumed.
#include "src/planner/algorithms/builder.h"
#include "src/planner/algorithms/butterfly.h"
#include "src/planner/algorithms/rows.h"

namespace tutti::planner {
namespace {

constexpr const char* kName = "halving_doubling";

plan::Plan all_reduce(const PlanRequest& request) {
  if (request.n_ranks == 1) return local_plan(kName, request);
  const Cube cube(request.n_ranks);
  return butterfly_all_reduce(kName, request, hypercube_butterfly(cube.bits), cube);
}

double cost(const CostInput& in) { return butterfly_all_reduce_cost(in, Cube(in.n_ranks)); }

}  // namespace

constinit const AlgorithmRow kHalvingDoublingAllReduce{.name = kName,
                                                       .collective = plan::Collective::kAllReduce,
                                                       .source = "Rabenseifner 2004",
                                                       .supports = any_rank_count,
                                                       .build = all_reduce,
                                                       .cost_ns = cost};

}  // namespace tutti::planner
