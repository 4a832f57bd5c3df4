// SPDX-License-Identifier: Apache-2.0
// Tries sizes of slots.
#include "perf/explain/fastest.h"

#include <algorithm>
#include <set>
#include <utility>
#include <vector>

namespace tutti::command {
namespace {

// Of a chunk's bytes: whole, or in so many tiles that follow each other.
constexpr uint64_t kTiles[] = {1, 4, 16, 64};
constexpr uint64_t kLeastSlotBytes = 4 << 10;
// Larger jobs are simulated with one size of slot, and only the smallest with the most tiles.
constexpr int64_t kFewFlows = 20'000;
constexpr int64_t kVeryFewFlows = 1'000;

// Of a run: messages, but what a switch adds or copies is one.
int64_t flows_of(const plan::Plan& plan) {
  using Kind = plan::SwitchChannel::Kind;
  int64_t flows = plan::size_of(plan).messages;
  const auto merge = [&](int32_t rank, const std::vector<plan::Operand>& operands, Kind kind) {
    std::set<int32_t> channels;
    for (const plan::Operand& operand : operands) {
      const plan::SwitchChannel entry{rank, operand.channel, kind};
      if (operand.kind != plan::Operand::Kind::kPeer ||
          !std::ranges::binary_search(plan.switch_channels, entry))
        continue;
      if (!channels.insert(operand.channel).second) --flows;
    }
  };
  if (plan.switch_channels.empty()) return flows;
  for (int32_t rank = 0; rank < plan.shape.n_ranks; ++rank)
    for (const plan::Lane& lane : plan.ranks[rank].lanes)
      for (const plan::Step& step : lane.steps) {
        merge(rank, step.sinks, Kind::kMulticast);
        merge(rank, step.sources, Kind::kReduce);
      }
  return flows;
}

}  // namespace

Fastest simulate_fastest(const planner::PlacedPlan& placed, const topology::Graph& graph,
                         uint64_t bytes, verify::SimulationParameters parameters) {
  const plan::Plan& plan = placed.plan;
  const uint64_t chunk = bytes / static_cast<uint64_t>(std::max(plan.shape.chunks_per_block, 1));
  const int64_t flows = flows_of(plan);
  Fastest best;
  for (const uint64_t tiles : kTiles) {
    if (flows > kFewFlows && tiles != kTiles[1]) continue;
    if (flows > kVeryFewFlows && tiles == kTiles[3]) continue;
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
