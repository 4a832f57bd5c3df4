// SPDX-License-Identifier: Apache-2.0
// Turns the builder's calls into plan steps.
#include "src/planner/algorithms/builder.h"

#include <algorithm>
#include <bit>
#include <utility>

namespace tutti::planner {

using plan::Buffer;
using plan::Operand;

namespace {

constexpr int32_t kFromExtent = -1;  // index of a chunk operand until step() knows its extent

Operand placed(Operand operand, const plan::Shape& shape, int32_t rank, int32_t extent) {
  if (operand.kind == Operand::Kind::kPeer) return operand;
  const int32_t chunks = shape.chunks_per_block;
  operand.index =
      plan::position_of(shape, rank, operand.buffer, extent / chunks) * chunks + extent % chunks;
  return operand;
}

}  // namespace

Operand input() { return Operand::chunk(Buffer::kInput, kFromExtent); }
Operand scaled_input() { return Operand::chunk(Buffer::kInput, kFromExtent, true); }
Operand output() { return Operand::chunk(Buffer::kOutput, kFromExtent); }
Operand peer(int32_t rank, int32_t channel) { return Operand::peer(rank, channel); }

Operands all_peers(int32_t n_ranks, int32_t rank) {
  Operands peers;
  for (int32_t i = 1; i < n_ranks; ++i) peers.push_back(peer((rank + i) % n_ranks));
  return peers;
}

Operands in_rank_order(int32_t n_ranks, int32_t rank, const Operand& own) {
  Operands operands;
  for (int32_t r = 0; r < n_ranks; ++r) operands.push_back(r == rank ? own : peer(r));
  return operands;
}

std::vector<plan::Step>& LaneBuilder::steps() {
  return plan_->ranks[static_cast<size_t>(rank_)].lanes[lane_].steps;
}

void LaneBuilder::step(int32_t extent, const Operands& sinks, const Operands& sources, Post post) {
  plan::Step step;
  step.extent = extent;
  step.post = post == Post::kYes;
  for (const Operand& o : sinks) step.sinks.push_back(placed(o, plan_->shape, rank_, extent));
  for (const Operand& o : sources) step.sources.push_back(placed(o, plan_->shape, rank_, extent));
  steps().push_back(std::move(step));
}

void LaneBuilder::signal(int32_t rank) { steps().push_back({.sinks = {peer(rank)}}); }
void LaneBuilder::wait_for(int32_t rank) { steps().push_back({.sources = {peer(rank)}}); }

PlanBuilder::PlanBuilder(const char* algorithm, const PlanRequest& request,
                         int32_t chunks_per_block) {
  plan_.algorithm = algorithm;
  plan_.shape = {.collective = request.collective,
                 .n_ranks = request.n_ranks,
                 .root = plan::has_root(request.collective) ? request.root : 0,
                 .chunks_per_block = chunks_per_block};
  plan_.ranks.resize(static_cast<size_t>(request.n_ranks));
}

LaneBuilder PlanBuilder::lane(int32_t rank) {
  std::vector<plan::Lane>& lanes = plan_.ranks[static_cast<size_t>(rank)].lanes;
  lanes.emplace_back();
  return {&plan_, rank, lanes.size() - 1};
}

void PlanBuilder::let_lanes_run_apart() {
  constexpr int32_t kTilesApart = 8;  // as many as a connection has slots by default
  set_tiles_in_flight(kTilesApart);
}

plan::Plan PlanBuilder::finish() {
  for (const plan::RankProgram& program : plan_.ranks) {
    for (const plan::Lane& lane : program.lanes) {
      for (const plan::Step& step : lane.steps) {
        for (const Operand& sink : step.sinks) {
          plan_.channels = std::max(plan_.channels, sink.channel + 1);
        }
      }
    }
  }
  return std::move(plan_);
}

plan::Plan local_plan(const char* algorithm, const PlanRequest& request) {
  const bool barrier = request.collective == plan::Collective::kBarrier;
  PlanBuilder builder(algorithm, request, barrier ? 0 : 1);
  if (plan::reduces(request.collective)) {
    builder.lane(0).step(0, {output()}, {scaled_input()}, Post::kYes);
  } else if (!barrier) {
    builder.lane(0).step(0, {output()}, {input()});
  }
  return builder.finish();
}

bool any_rank_count(const PlanRequest& request) { return request.n_ranks >= 1; }
bool power_of_two(const PlanRequest& request) {
  return std::has_single_bit(static_cast<uint32_t>(request.n_ranks));
}
bool few_ranks(const PlanRequest& request) { return request.n_ranks <= kMaxDirectRanks; }

}  // namespace tutti::planner
