// SPDX-License-Identifier: Apache-2.0
// Swing: halving and doubling on a ring, whose partners lie on alternating sides and nearer than
// those of a hypercube.
//
// De Sensi, Bonato, Saam and Hoefler, "Swing: short-cutting rings for higher bandwidth allreduce",
// NSDI 2024, arXiv 2401.09356. The variant for large vectors, on a ring. n ranks, S bytes, n
// chunks: in step s of ceil(log2 n) an even rank exchanges chunks with the one rho(s) = (1 -
// (-2)^(s+1)) / 3 ahead, an odd one with the one rho(s) behind, half of what is left each time;
// then the same steps backwards. 2 ceil(log2 n) hops, a rank sends 2 S (n-1)/n in 2(n-1) messages.
// Where the number of ranks is odd, the first sends its input (S) to its neighbour and gets the
// result from it: 2 more hops.
//
// Unrolled per chunk (butterfly.h): 1 slot is enough. Reference-safe, in place too, as
// halving_doubling is. The paper's variant for small vectors, recursive doubling with these
// partners, is none for this library: each rank would add in an order of its own, and the results
// would differ in their last bits.
#include "src/planner/algorithms/builder.h"
#include "src/planner/algorithms/butterfly.h"
#include "src/planner/algorithms/negabinary.h"
#include "src/planner/algorithms/rows.h"

namespace tutti::planner {
namespace {

constexpr const char* kName = "swing";

Folded even(int32_t n_ranks) { return {n_ranks, n_ranks - n_ranks % 2}; }

plan::Plan all_reduce(const PlanRequest& request) {
  if (request.n_ranks == 1) return local_plan(kName, request);
  const Folded folded = even(request.n_ranks);
  return butterfly_all_reduce(kName, request, negabinary_butterfly(folded.corners), folded);
}

double cost(const CostInput& in) {
  return butterfly_all_reduce_cost(in, in.n_ranks == 1 ? Folded(1, 1) : even(in.n_ranks));
}

}  // namespace

constinit const AlgorithmRow kSwingAllReduce{.name = kName,
                                             .collective = plan::Collective::kAllReduce,
                                             .source = "De Sensi et al. 2024",
                                             .supports = any_rank_count,
                                             .build = all_reduce,
                                             .cost_ns = cost};

}  // namespace tutti::planner
