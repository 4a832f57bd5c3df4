// SPDX-License-Identifier: Apache-2.0
// Van de Geijn's Broadcast: the root deals out n chunks, then a ring gathers them everywhere.
//
// Barnett, Gupta, Payne, Shuler, van de Geijn and Watts, "Interprocessor collective communication
// library (InterCom)", SHPCC 1994. n ranks, S bytes, n chunks: at most n hops; the root sends 2 S
// (n-1)/n, every other rank about S. The scatter is direct: a message is one chunk, so that a tree
// would send more messages. Nothing is sent to the root, which has everything. Places are ranks
// counted from the root; chunk c is dealt to place c, and goes around from there. Messages only
// flow away from the root: 1 slot is enough. Reference-safe, in place too: nothing that is sent is
// overwritten.
#include "src/planner/algorithms/builder.h"
#include "src/planner/algorithms/cost.h"
#include "src/planner/algorithms/rows.h"

namespace tutti::planner {
namespace {

constexpr const char* kName = "scatter_all_gather";

void root_lane(LaneBuilder lane, int32_t n, int32_t root) {
  const auto at = [&](int32_t place) { return peer((place + root) % n); };
  for (int32_t c = 1; c < n; ++c) lane.step(c, {output(), at(c)}, {input()});
  lane.step(0, {output(), at(1)}, {input()});
  for (int32_t c = n - 1; c >= 2; --c) lane.step(c, {at(1)}, {input()});
}

// Chunk `place` comes from the root, the chunks place-1, place-2, ... from the place before; each
// goes to the place after, unless that is the root or had the chunk first.
void other_lane(LaneBuilder lane, int32_t n, int32_t root, int32_t place) {
  const auto at = [&](int32_t p) { return peer((p + root) % n); };
  for (int32_t s = 0; s < n; ++s) {
    Operands sinks{output()};
    if (place < n - 1 && s < n - 1) sinks.push_back(at(place + 1));
    lane.step((place + n - s) % n, sinks, {s == 0 ? at(0) : at(place - 1)});
  }
}

plan::Plan broadcast(const PlanRequest& request) {
  const int32_t n = request.n_ranks;
  if (n == 1) return local_plan(kName, request);
  PlanBuilder builder(kName, request, n);
  root_lane(builder.lane(request.root), n, request.root);
  for (int32_t place = 1; place < n; ++place) {
    other_lane(builder.lane((place + request.root) % n), n, request.root, place);
  }
  return builder.finish();
}

double cost(const CostInput& in) {
  const double n = in.n_ranks;
  const auto bytes = static_cast<double>(in.bytes);
  return time_ns(in, {.hops = n,
                      .messages = n - 1,
                      .written_bytes = bytes * (2 * n - 1) / n,
                      .read_bytes = bytes * (n + 1) / n});
}

}  // namespace

constinit const AlgorithmRow kScatterAllGatherBroadcast{.name = kName,
                                                        .collective = plan::Collective::kBroadcast,
                                                        .source = "Barnett et al. 1994",
                                                        .supports = any_rank_count,
                                                        .build = broadcast,
                                                        .cost_ns = cost};

}  // namespace tutti::planner
