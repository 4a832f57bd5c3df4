// SPDX-License-Identifier: Apache-2.0
// PAT, parallel aggregated trees: Bruck's rounds the other way round, far steps first with few
// blocks and near ones last with many.
//
// Jeaugey, "PAT: a new algorithm for all-gather and reduce-scatter operations at scale", arXiv
// 2506.20252, 2025. n ranks, S bytes per block, one binomial tree per block, shifted by the rank
// that the block belongs to: from distance d < n behind it a block goes on to the distances d + 2^b
// < n for the bits b below the lowest of d.
//
//   AllGather      ceil(log2 n) hops, a rank sends S (n-1) in n-1 messages, 2^i of them to the rank
//                  n' / 2^(i+1) ahead (i = 0, 1, ...; n' the power of two from n up)
//   ReduceScatter  the same trees backwards: near ranks first, the farthest last and with one block
//
// The paper bounds the buffers of a rank by the logarithm of n, at the price of hops when blocks no
// longer fit in them together, by running parts of the trees one after the other. Here the slots
// are the buffers and flow control does the same (butterfly.h): 1 slot is enough, which is
// log2(n) (log2(n) + 1) / 2 messages of buffer per rank, and with slots for n/4 messages no rank
// waits for a free one. Reference-safe, in place too.
#include <cstddef>
#include <utility>

#include "src/planner/algorithms/builder.h"
#include "src/planner/algorithms/butterfly.h"
#include "src/planner/algorithms/rows.h"

namespace tutti::planner {
namespace {

constexpr const char* kName = "pat";

// The distance that a block has gone after the rounds of `offset`.
int32_t distance_at(int32_t offset, int32_t rounds) {
  int32_t distance = 0;
  for (int32_t round = 0; round < rounds; ++round)
    if ((offset >> round) % 2 != 0) distance += 1 << (rounds - 1 - round);
  return distance;
}

// No block goes around the circle: what would come to a rank again ends before it.
Butterfly far_first(int32_t n) {
  const int32_t rounds = ceil_log2(n);
  Butterfly::Partners to(static_cast<size_t>(rounds));
  for (int32_t round = 0; round < rounds; ++round)
    for (int32_t rank = 0; rank < n; ++rank)
      to[static_cast<size_t>(round)].push_back((rank + distance_at(1 << round, rounds)) % n);
  std::vector<bool> offsets(size_t{1} << rounds);
  for (int32_t offset = 0; offset < 1 << rounds; ++offset)
    offsets[static_cast<size_t>(offset)] = distance_at(offset, rounds) < n;
  return {std::move(to), std::move(offsets)};
}

plan::Plan all_gather(const PlanRequest& request) {
  if (request.n_ranks == 1) return local_plan(kName, request);
  return butterfly_all_gather(kName, request, far_first(request.n_ranks));
}
plan::Plan reduce_scatter(const PlanRequest& request) {
  if (request.n_ranks == 1) return local_plan(kName, request);
  return butterfly_reduce_scatter(kName, request, far_first(request.n_ranks));
}

constexpr const char* kSource = "Jeaugey 2025";

}  // namespace

constinit const AlgorithmRow kPatAllGather{.name = kName,
                                           .collective = plan::Collective::kAllGather,
                                           .source = kSource,
                                           .supports = any_rank_count,
                                           .build = all_gather,
                                           .cost_ns = butterfly_all_gather_cost};
constinit const AlgorithmRow kPatReduceScatter{.name = kName,
                                               .collective = plan::Collective::kReduceScatter,
                                               .source = kSource,
                                               .supports = any_rank_count,
                                               .build = reduce_scatter,
                                               .cost_ns = butterfly_reduce_scatter_cost};

}  // namespace tutti::planner
