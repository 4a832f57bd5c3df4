// SPDX-License-Identifier: Apache-2.0
// Direct Gather and Scatter: the root exchanges each block with its owner.
//
// Linear gather, as old as message passing. n ranks, S bytes per block: one hop, n-1 messages in
// all. One lane per peer at the root, so that no peer waits for another, whatever the sizes: a
// block is known to its owner and the root only, which is all that Gatherv and Scatterv offer. 1
// slot is enough. Reference-safe.
#include "src/planner/algorithms/builder.h"
#include "src/planner/algorithms/cost.h"
#include "src/planner/algorithms/rows.h"

namespace tutti::planner {
namespace {

constexpr const char* kName = "direct";

plan::Plan gather(const PlanRequest& request) {
  const int32_t root = request.root;
  PlanBuilder builder(kName, request, 1);
  builder.lane(root).step(root, {output()}, {input()});
  for (const plan::Operand& owner : all_peers(request.n_ranks, root)) {
    builder.lane(owner.index).step(owner.index, {peer(root)}, {input()});
    builder.lane(root).step(owner.index, {output()}, {owner});
  }
  return builder.finish();
}

plan::Plan scatter(const PlanRequest& request) {
  const int32_t root = request.root;
  PlanBuilder builder(kName, request, 1);
  builder.lane(root).step(root, {output()}, {input()});
  for (const plan::Operand& owner : all_peers(request.n_ranks, root)) {
    builder.lane(root).step(owner.index, {owner}, {input()});
    builder.lane(owner.index).step(owner.index, {output()}, {peer(root)});
  }
  return builder.finish();
}

double cost(const CostInput& in) {
  const double n = in.n_ranks;
  const double moved = static_cast<double>(in.bytes) * (2 * n - 1) / n;
  return time_ns(in,
                 {.hops = 1, .messages = (n - 1) / n, .written_bytes = moved, .read_bytes = moved});
}

constexpr AlgorithmRow row(plan::Collective collective, plan::Plan (*build)(const PlanRequest&)) {
  return {.name = kName,
          .collective = collective,
          .source = "linear exchange with the root",
          .uneven = true,
          .supports = any_rank_count,
          .build = build,
          .cost_ns = cost};
}

}  // namespace

constinit const AlgorithmRow kDirectGather = row(plan::Collective::kGather, gather);
constinit const AlgorithmRow kDirectScatter = row(plan::Collective::kScatter, scatter);

}  // namespace tutti::planner
