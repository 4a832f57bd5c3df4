// SPDX-License-Identifier: Apache-2.0
// Tries sizes of slots.
#include "perf/explain/fastest.h"

#include <algorithm>
#include <utility>

namespace tutti::command {
namespace {

// Of a chunk's bytes: whole, or in so many tiles that follow each other.
constexpr uint64_t kTiles[] = {1, 4, 16};
constexpr uint64_t kLeastSlotBytes = 4 << 10;
// Larger jobs are simulated with one size of slot.
constexpr int64_t kFewMessages = 20'000;

}  // namespace

Fastest simulate_fastest(const planner::PlacedPlan& placed, const topology::Graph& graph,
                         uint64_t bytes, verify::SimulationParameters parameters) {
  const plan::Plan& plan = placed.plan;
  const uint64_t chunk = bytes / static_cast<uint64_t>(std::max(plan.shape.chunks_per_block, 1));
  const bool few = plan::size_of(plan).messages <= kFewMessages;
  Fastest best;
  for (const uint64_t tiles : kTiles) {
    if (!few && tiles != kTiles[1]) continue;
    parameters.slot_bytes = std::max(kLeastSlotBytes, (chunk + tiles - 1) / tiles);
    verify::SimulationResult result =
        verify::simulate(plan, placed.placement, graph, bytes, parameters);
    if (best.slot_bytes == 0 || result.time_ns < best.simulated.time_ns)
      best = {parameters.slot_bytes, std::move(result)};
    if (parameters.slot_bytes == kLeastSlotBytes) break;
  }
  return best;
}

}  // namespace tutti::command
