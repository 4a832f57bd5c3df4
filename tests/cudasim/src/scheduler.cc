// SPDX-License-Identifier: Apache-2.0
#include "tests/cudasim/src/scheduler.h"

#include <algorithm>
#include <utility>

#include <spdlog/fmt/fmt.h>

#include "tests/cudasim/src/engine.h"
#include "tests/cudasim/src/machine.h"
#include "tests/cudasim/src/occupancy.h"
#include "tests/cudasim/src/report.h"
#include "tests/cudasim/src/watchdog.h"

cudasim::Thread* cudasim_thread = nullptr;

namespace cudasim {
namespace {

constexpr uint64_t kStaticShared = 48 << 10;

uint64_t count(const std::array<uint32_t, 3>& size) {
  return uint64_t{size[0]} * size[1] * size[2];
}

std::array<uint32_t, 3> place(uint64_t number, const std::array<uint32_t, 3>& size) {
  return {static_cast<uint32_t>(number % size[0]),
          static_cast<uint32_t>(number / size[0] % size[1]),
          static_cast<uint32_t>(number / (uint64_t{size[0]} * size[1]))};
}

}  // namespace

Scheduler::Scheduler() : random_(config().seed) {
  if (config().weak) weak_ = std::make_unique<WeakMemory>();
}

std::shared_ptr<Grid> Scheduler::launch(Launch launch) {
  auto grid = std::make_shared<Grid>();
  grid->launch = std::move(launch);
  grid->serial = ++serials_;
  grid->blocks = count(grid->launch.grid);
  const Gpu& gpu = machine().gpus()[grid->device()];
  grid->resident = std::max<uint64_t>(
      1, uint64_t{blocks_per_multiprocessor(count(grid->launch.block), grid->launch.shared_bytes)} *
             gpu.multiprocessors);
  grids_.push_back(grid);
  return grid;
}

void Scheduler::admit(Grid& grid) {
  while (grid.next_block < grid.blocks && grid.running.size() < grid.resident)
    grid.running.push_back(make_block(grid));
}

std::unique_ptr<Block> Scheduler::make_block(Grid& grid) {
  auto block = std::make_unique<Block>();
  block->grid = &grid;
  block->number = grid.next_block++;
  block->serial = ++block_serials_;
  const auto threads = static_cast<uint32_t>(count(grid.launch.block));
  block->live = threads;
  // Nothing that is in it by chance is zero. 16 bytes for its alignment.
  block->arena.assign(round_up(grid.launch.shared_bytes, 16) + kStaticShared + 16, 0xa5);
  block->arena_base =
      reinterpret_cast<uint8_t*>(round_up(reinterpret_cast<uint64_t>(block->arena.data()), 16));
  block->arena_used = round_up(grid.launch.shared_bytes, 16);
  block->warps.resize((threads + kWarpLanes - 1) / kWarpLanes);
  for (uint32_t w = 0; w < block->warps.size(); ++w) {
    Warp& warp = block->warps[w];
    warp.block = block.get();
    warp.index = w;
    warp.lanes = std::min(kWarpLanes, threads - w * kWarpLanes);
    warp.live = warp.lanes == kWarpLanes ? ~0U : (1U << warp.lanes) - 1;
  }
  for (uint32_t t = 0; t < threads; ++t) make_lane(*block, t, block->arena_base);
  for (Warp& warp : block->warps) queue(warp);
  return block;
}

void Scheduler::make_lane(Block& block, uint32_t thread, uint8_t* dynamic) {
  auto lane = std::make_unique<Lane>();
  const Launch& launch = block.grid->launch;
  std::ranges::copy(place(thread, launch.block), lane->thread);
  std::ranges::copy(place(block.number, launch.grid), lane->block);
  lane->block_threads = static_cast<uint32_t>(count(launch.block));
  lane->grid_blocks = static_cast<uint32_t>(block.grid->blocks);
  lane->lane = thread % kWarpLanes;
  lane->warp = thread / kWarpLanes;
  lane->shared_arena = dynamic;
  lane->owner = &block.warps[lane->warp];
  lane->stack = stacks_.take();
  lane->fiber.start(lane->stack, lane_body);
  if (weak_) weak_->start(*lane);
  block.lanes.push_back(std::move(lane));
}

void Scheduler::lane_body() {
  Scheduler& self = scheduler();
  const Launch& launch = self.current().owner->block->grid->launch;
  launch.kernel->run(launch.args.data());
  self.current().state = LaneState::kDone;
  self.leave();
  __builtin_unreachable();
}

void Scheduler::leave() { current().fiber.leave(); }

void Scheduler::queue(Warp& warp) {
  if (warp.queued) return;
  warp.queued = true;
  active_.push_back(&warp);
}

void Scheduler::make_ready(Lane& lane) {
  const uint32_t bit = 1U << lane.lane;
  if ((lane.owner->blocked & bit) != 0) --lane.owner->block->blocked;
  lane.owner->blocked &= ~bit;
  lane.state = LaneState::kReady;
  queue(*lane.owner);
}

void Scheduler::block(Lane& lane, LaneState state) {
  lane.state = state;
  lane.owner->blocked |= 1U << lane.lane;
  ++lane.owner->block->blocked;
}

bool Scheduler::round(bool force) {
  if (grids_.empty()) return false;
  for (const auto& grid : std::list(grids_)) {
    try {
      if (!grid->done) admit(*grid);
    } catch (const Failure& failure) {
      report(fmt::format("{} can't start: {}", describe(*grid), failure.what()));
      end_context(*grid->launch.context, failure.code());
    }
  }
  std::vector<Warp*> turn = std::exchange(active_, {});
  for (size_t i = turn.size(); i > 1; --i) std::swap(turn[i - 1], turn[random_.below(i)]);
  bool progress = false;
  for (Warp* const warp : turn) {
    warp->queued = false;
    if (warp->block->ended) continue;
    progress |= run_warp(*warp, force);
    if (!warp->block->ended && (warp->live & ~warp->blocked) != 0) queue(*warp);
  }
  if (weak_) {
    for (const auto& grid : grids_)
      for (const auto& running : grid->running) progress |= weak_->pass(*running);
    progress |= weak_->pass_devices();
  }
  bury();
  return progress;
}

void Scheduler::bury() {
  const auto is_dead = [](const Warp* warp) { return warp->block->ended; };
  std::erase_if(active_, is_dead);
  ended_.clear();
  std::erase_if(grids_, [](const auto& grid) { return grid->done; });
}

bool Scheduler::run_warp(Warp& warp, bool force) {
  const auto start = static_cast<uint32_t>(random_.below(kWarpLanes));
  const auto step = static_cast<uint32_t>(random_.below(kWarpLanes / 2) * 2 + 1);
  bool with_warp = false;
  for (uint32_t l = 0; l < warp.lanes; ++l) {
    const Lane& lane = warp.lane(l);
    with_warp |=
        lane.state == LaneState::kSpins && lane.spins_with_warp && (force || has_changed(lane));
  }
  bool progress = false;
  const uint32_t ready = warp.live & ~warp.blocked;  // not those that become ready meanwhile
  for (uint32_t i = 0; i < kWarpLanes; ++i) {
    const uint32_t l = (start + i * step) % kWarpLanes;
    if ((ready >> l & 1) == 0) continue;
    Lane& lane = warp.lane(l);
    if (!wants_to_run(lane, force || (with_warp && lane.spins_with_warp))) continue;
    progress |= run_lane(lane);
    if (warp.block->ended) return true;
  }
  return progress;
}

bool Scheduler::wants_to_run(Lane& lane, bool force) const {
  if (lane.state == LaneState::kReady) return true;
  if (lane.state == LaneState::kSleeps) return now_ns() >= lane.wake_ns;
  return force || weak_ || lane.looked_at_clock || has_changed(lane);
}

bool Scheduler::run_lane(Lane& lane) {
  cudasim_thread = &lane;
  lane.state = LaneState::kReady;
  lane.spins_with_warp = false;
  lane.did_something = false;
  lane.accesses = 0;
  note_entry(++entries_);
  lane.fiber.enter();
  note_entry(0);
  cudasim_thread = nullptr;
  Grid& grid = *lane.owner->block->grid;
  if (!fault_ && StackPool::is_overrun(lane.stack)) {
    fault_ = true;
    fault_code_ = Result::kLaunchFailed;
    fault_text_ = fmt::format("{} needs more than {} KiB of stack (CUDASIM_STACK_KB)",
                              describe(lane), config().stack_bytes >> 10);
  }
  if (end_faulty(grid)) return true;
  if (lane.state == LaneState::kDone) end_lane(lane);
  return lane.did_something || lane.state == LaneState::kDone;
}

void Scheduler::end_lane(Lane& lane) {
  Warp& warp = *lane.owner;
  Block& block = *warp.block;
  if (weak_) weak_->lane_ends(lane);
  stacks_.give_back(std::exchange(lane.stack, nullptr));
  warp.live &= ~(1U << lane.lane);
  --block.live;
  if (block.live == 0) return end_block(block);
  release_barrier(block);
  check_stuck(warp);
  end_faulty(*block.grid);
}

bool Scheduler::end_faulty(Grid& grid) {
  if (!std::exchange(fault_, false)) return false;
  const Lane* const lane = std::exchange(fault_lane_, nullptr);
  const std::string who =
      lane != nullptr ? fmt::format("{} at {} ", describe(*lane), place_name(lane->place)) : "";
  report(fmt::format("{}: {}{}", describe(grid), who, fault_text_));
  end_context(*grid.launch.context, fault_code_);
  return true;
}

void Scheduler::end_block(Block& block) {
  Grid& grid = *block.grid;
  if (weak_) weak_->block_ends(block);
  block.ended = true;
  const auto at = std::ranges::find_if(
      grid.running, [&block](const auto& running) { return running.get() == &block; });
  ended_.push_back(std::move(*at));
  grid.running.erase(at);
  if (++grid.ended == grid.blocks) end_grid(grid);
}

void Scheduler::end_grid(Grid& grid) {
  if (weak_) weak_->grid_ends(grid.device());
  grid.done = true;
}

// What its threads have on their stacks is forgotten.
void Scheduler::kill(abi::ContextObject& context) {
  for (const auto& grid : grids_) {
    if (grid->launch.context != &context || grid->done) continue;
    for (auto& block : grid->running) {
      for (const auto& lane : block->lanes)
        if (lane->stack != nullptr) stacks_.give_back(std::exchange(lane->stack, nullptr));
      block->ended = true;
      ended_.push_back(std::move(block));
    }
    grid->running.clear();
    end_grid(*grid);
  }
}

void Scheduler::end_context(abi::ContextObject& context, Result error) {
  kill(context);
  const std::lock_guard lock(engine().mutex());
  engine().lose(context, error);
}

bool Scheduler::end_hung() {
  if (grids_.empty()) return false;
  std::string text = fmt::format("no kernel has moved for {} ms:", config().hang_ms);
  for (const auto& grid : grids_) text += "\n" + describe_waits(*grid);
  report(text);
  for (const auto& grid : std::list(grids_))
    if (!grid->done) end_context(*grid->launch.context, Result::kLaunchTimeout);
  bury();
  return true;
}

void Scheduler::fail(Result error, std::string what) {
  fault_ = true;
  fault_code_ = error;
  fault_text_ = std::move(what);
  fault_lane_ = &current();  // the engine's stack has room to say where
  leave();
  __builtin_unreachable();
}

Scheduler& scheduler() {
  static Scheduler* const kScheduler = new Scheduler();  // outlives the engine's thread
  return *kScheduler;
}

}  // namespace cudasim
