// SPDX-License-Identifier: Apache-2.0
// A running kernel: its blocks, warps and threads ("lanes"). Only the engine's thread touches them.
#pragma once

#include <array>
#include <cstdint>
#include <map>
#include <memory>
#include <string>
#include <vector>

#include <cudasim/kernel_abi.h>

#include "tests/cudasim/src/fiber.h"
#include "tests/cudasim/src/objects.h"
#include "tests/cudasim/src/weak.h"

namespace cudasim {

inline constexpr uint32_t kWarpLanes = 32;

struct Block;
struct Grid;
struct Warp;

// What a launch asks for.
struct Launch {
  std::string name;
  const KernelDescriptor* kernel = nullptr;
  std::vector<uint8_t> args;
  std::array<uint32_t, 3> grid{};
  std::array<uint32_t, 3> block{};
  uint32_t shared_bytes = 0;
  bool cooperative = false;
  abi::ContextObject* context = nullptr;
};

enum class LineOp : uint8_t { kNone, kLoad, kStore };

enum class LaneState : uint8_t {
  kReady,
  kSpins,      // reads again what it has read; goes on when that has changed
  kSleeps,     // until a time
  kAtBarrier,  // of the block
  kAtWarpOp,
  kDone,
};

// A value that a lane has read and will read again.
struct Watch {
  uint64_t address = 0;
  const uint8_t* host = nullptr;
  uint32_t bytes = 0;
  uint32_t turn = 0;  // of the lane, when it read it
  std::array<uint8_t, 16> value{};
};

struct Lane : Thread {
  Fiber fiber;
  uint8_t* stack = nullptr;
  Warp* owner = nullptr;
  LaneState state = LaneState::kReady;
  const void* place = nullptr;  // where it waits, or did what is being reported
  int64_t wake_ns = 0;

  // Of spinning.
  std::array<Watch, 16> watches{};
  const Watch* last_watch = nullptr;  // what it last found unchanged
  uint32_t turn = 1;
  uint32_t next_watch = 0;
  Watch weak_watch;  // the last weak load
  uint32_t weak_repeats = 0;
  bool spins_with_warp = false;  // goes on when any lane of the warp that does can
  uint32_t accesses = 0;         // since it was entered
  bool looked_at_clock = false;
  bool did_something = false;

  // Of an operation of the warp.
  WarpOp op = WarpOp::kBarrier;
  uint32_t mask = 0;
  uint32_t from = 0;
  uint64_t value = 0;
  LineOp line = LineOp::kNone;
  uint8_t* line_host = nullptr;
  uint64_t line_address = 0;
  std::array<uint8_t, 16> line_data{};

  std::unique_ptr<WeakLane> weak;  // in weak mode
};

struct Warp {
  Block* block = nullptr;
  uint32_t index = 0;
  uint32_t lanes = 0;    // how many it has
  uint32_t live = 0;     // bits of those that have not ended
  uint32_t blocked = 0;  // bits of those at a barrier or an operation of the warp
  bool queued = false;   // among the scheduler's active warps

  Lane& lane(uint32_t at) const;
};

struct Block {
  Grid* grid = nullptr;
  uint64_t number = 0;  // in its grid
  uint64_t serial = 0;  // in this process
  std::vector<Warp> warps;
  std::vector<std::unique_ptr<Lane>> lanes;
  uint32_t live = 0;
  uint32_t at_barrier = 0;
  uint32_t blocked = 0;
  bool any = false;  // of the values at the barrier
  bool any_result = false;
  std::vector<uint8_t> arena;  // dynamic shared memory, then shared objects
  uint64_t arena_used = 0;
  uint8_t* arena_base = nullptr;
  std::map<const void*, void*> objects;
  StoreBuffer stores;  // in weak mode: what the block has stored and others may not see yet
  bool ended = false;
};

struct Grid {
  Launch launch;
  uint64_t serial = 0;
  uint64_t blocks = 0;
  uint64_t next_block = 0;
  uint64_t ended = 0;
  uint64_t resident = 0;  // most of its blocks at a time
  bool done = false;
  Result error = Result::kSuccess;
  std::vector<std::unique_ptr<Block>> running;

  int device() const { return launch.context->device; }
};

inline Lane& Warp::lane(uint32_t at) const { return *block->lanes[index * kWarpLanes + at]; }

std::string describe(const Lane& lane);  // "block 0, thread 3"
std::string describe(const Grid& grid);  // "kernel x (2 blocks of 64 threads) on device 0"

}  // namespace cudasim
