// SPDX-License-Identifier: Apache-2.0
// Barriers and what a warp does together.
#include <algorithm>

#include <spdlog/fmt/fmt.h>

#include "tests/cudasim/src/report.h"
#include "tests/cudasim/src/scheduler.h"

namespace cudasim {
namespace {

std::vector<Lane*> lanes_of(const Warp& warp, uint32_t mask) {
  std::vector<Lane*> lanes;
  for (uint32_t l = 0; l < warp.lanes; ++l)
    if ((mask >> l & 1) != 0) lanes.push_back(&warp.lane(l));
  return lanes;
}

std::string where(const Lane& lane) {
  return lane.state == LaneState::kDone ? "has ended" : "is at " + place_name(lane.place);
}

// Barriers in different places count as one on the hardware, but are never meant. The compiler may
// have copied one, so that only different lines tell.
std::string two_places(const Block& block) {
  const Lane* first = nullptr;
  for (const auto& lane : block.lanes) {
    if (lane->state != LaneState::kAtBarrier) continue;
    if (first == nullptr) first = lane.get();
    if (lane->place == first->place || place_name(lane->place) == place_name(first->place))
      continue;
    if (place_name(lane->place).find('+') != std::string::npos) continue;  // no line is known
    return fmt::format("meets others at a barrier: divergent barrier: {} {}, {} {}",
                       describe(*first), where(*first), describe(*lane), where(*lane));
  }
  return "";
}

}  // namespace

void Scheduler::arrive(Lane& lane, bool value) {
  Block& block = *lane.owner->block;
  block.any |= value;
  ++block.at_barrier;
  this->block(lane, LaneState::kAtBarrier);
  release_barrier(block);
  check_stuck(*lane.owner);
  leave();
}

void Scheduler::release_barrier(Block& block) {
  if (block.at_barrier < block.live || block.live == 0) return;
  if (config().strict) {
    std::string wrong = two_places(block);
    if (!wrong.empty() && cudasim_thread != nullptr) fail(Result::kLaunchFailed, std::move(wrong));
  }
  block.any_result = block.any;
  block.any = false;
  block.at_barrier = 0;
  std::vector<Lane*> met;
  for (const auto& lane : block.lanes)
    if (lane->state == LaneState::kAtBarrier) met.push_back(lane.get());
  if (weak_) weak_->meet(met);
  for (Lane* const lane : met) make_ready(*lane);
}

// Nobody in the warp can go on, and what some wait for is the others.
void Scheduler::check_stuck(const Warp& warp) {
  if (warp.live == 0 || warp.blocked != warp.live) return;
  const std::vector<Lane*> lanes = lanes_of(warp, warp.live);
  const auto waits = std::ranges::find_if(
      lanes, [](const Lane* lane) { return lane->state == LaneState::kAtWarpOp; });
  if (waits == lanes.end()) return;
  Lane& lane = **waits;
  std::string missing;
  for (uint32_t l = 0; l < warp.lanes && missing.empty(); ++l) {
    const Lane& other = warp.lane(l);
    const bool wanted = (lane.mask >> l & 1) != 0;
    if (wanted && (other.state != LaneState::kAtWarpOp || other.mask != lane.mask))
      missing = fmt::format("lane {}, which {}", l, where(other));
  }
  if (missing.empty()) missing = "lanes that its warp does not have";
  fault_ = true;
  fault_code_ = Result::kLaunchFailed;
  fault_text_ = fmt::format(
      "{} at {} waits for ever: diverged participation: the mask 0x{:08x} of its warp's operation "
      "names {}",
      describe(lane), place_name(lane.place), lane.mask, missing);
  if (cudasim_thread != nullptr) leave();
}

void Scheduler::arrive_at_warp_op(Lane& lane) {
  Warp& warp = *lane.owner;
  const uint32_t own = 1U << lane.lane;
  const uint32_t whole = warp.lanes == kWarpLanes ? ~0U : (1U << warp.lanes) - 1;
  if (lane.mask == ~0U) lane.mask = whole;
  if ((lane.mask & own) == 0)
    fail(Result::kLaunchFailed,
         fmt::format("takes part in an operation of its warp whose mask 0x{:08x} lacks it",
                     lane.mask));
  block(lane, LaneState::kAtWarpOp);
  complete_warp_op(warp, lane.mask);
  check_stuck(warp);
  leave();
}

void Scheduler::complete_warp_op(Warp& warp, uint32_t mask) {
  if ((mask & ~warp.live) != 0) return;
  const std::vector<Lane*> lanes = lanes_of(warp, mask);
  const bool all_here = std::ranges::all_of(lanes, [mask](const Lane* lane) {
    return lane->state == LaneState::kAtWarpOp && lane->mask == mask;
  });
  if (!all_here) return;
  const Lane& first = *lanes.front();
  for (const Lane* const lane : lanes)
    if (lane->op != first.op || lane->line != first.line)
      fail(Result::kLaunchFailed,
           fmt::format(
               "meets its warp in different operations: diverged participation: {} {}, {} {}",
               describe(first), where(first), describe(*lane), where(*lane)));
  const bool lines = first.line != LineOp::kNone;
  const bool news = !lines || move_lines(warp, mask);
  if (first.op != WarpOp::kBarrier) exchange(warp, mask);
  if (first.op == WarpOp::kBarrier && !lines && weak_) weak_->meet(lanes);
  for (Lane* const lane : lanes) {
    make_ready(*lane);
    if (news) continue;
    lane->state = LaneState::kSpins;
    lane->spins_with_warp = true;
  }
}

void Scheduler::exchange(Warp& warp, uint32_t mask) {
  std::array<uint64_t, kWarpLanes> values{};
  uint64_t votes = 0;
  const std::vector<Lane*> lanes = lanes_of(warp, mask);
  for (const Lane* const lane : lanes) {
    values[lane->lane] = lane->value;
    if (lane->value != 0) votes |= uint64_t{1} << lane->lane;
  }
  for (Lane* const lane : lanes) {
    if (lane->op == WarpOp::kBallot) {
      lane->value = votes;
      continue;
    }
    if ((mask >> lane->from & 1) == 0)
      fail(Result::kLaunchFailed,
           fmt::format("shuffles with the mask 0x{:08x}, and {} reads lane {}, which does not take "
                       "part",
                       mask, describe(*lane), lane->from));
    lane->value = values[lane->from];
  }
}

}  // namespace cudasim
