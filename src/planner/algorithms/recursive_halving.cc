// SPDX-License-Identifier: Apache-2.0
// Recursive halving ReduceScatter: the first half of Rabenseifner's AllReduce.
//
// Thakur, Rabenseifner and Gropp, "Optimization of collective communication operations in MPICH",
// IJHPCA 19(1), 2005. n = 2^k ranks, S bytes per block: log2(n) hops, a rank sends S (n-1) in n-1
// messages. Unrolled per block as in halving_doubling.cc: one step folds all of a block's messages
// and passes the sum on, so there is no scratch and 1 slot is enough. Reference-safe: only raw
// inputs travel by reference, and only the own block may alias the output.
#include "src/planner/algorithms/builder.h"
#include "src/planner/algorithms/cost.h"
#include "src/planner/algorithms/hypercube.h"
#include "src/planner/algorithms/rows.h"

namespace tutti::planner {
namespace {

constexpr const char* kName = "recursive_halving";

void rank_lane(LaneBuilder lane, int32_t bits, int32_t rank) {
  const auto partner = [&](int32_t bit) { return peer(rank ^ (1 << bit)); };
  const std::vector<int32_t> offsets = bit_reversed(bits);
  for (auto x = offsets.rbegin(); x != offsets.rend(); ++x) {
    Operands contributions;
    for (int32_t b = first_bit_above(*x); b < bits; ++b) contributions.push_back(partner(b));
    contributions.push_back(scaled_input());
    if (*x != 0) {
      lane.step(rank ^ *x, {partner(top_bit(*x))}, contributions);
    } else {
      lane.step(rank, {output()}, contributions, Post::kYes);
    }
  }
}

plan::Plan reduce_scatter(const PlanRequest& request) {
  if (request.n_ranks == 1) return local_plan(kName, request);
  PlanBuilder builder(kName, request, 1);
  for (int32_t rank = 0; rank < request.n_ranks; ++rank) {
    rank_lane(builder.lane(rank), floor_log2(request.n_ranks), rank);
  }
  return builder.finish();
}

double cost(const CostInput& in) {
  const double n = in.n_ranks;
  const auto block = static_cast<double>(in.bytes);
  return time_ns(in, {.hops = static_cast<double>(ceil_log2(in.n_ranks)),
                      .messages = n - 1,
                      .written_bytes = block * n,
                      .read_bytes = block * (2 * n - 1)});
}

}  // namespace

constinit const AlgorithmRow kRecursiveHalvingReduceScatter{
    .name = kName,
    .collective = plan::Collective::kReduceScatter,
    .source = "Thakur, Rabenseifner and Gropp 2005",
    .supports = power_of_two,
    .build = reduce_scatter,
    .cost_ns = cost,
    .limits = kPowerOfTwo};

}  // namespace tutti::planner
