// SPDX-License-Identifier: Apache-2.0
// What DeviceExecutor's files share: its parts, and how anything is launched.
#pragma once

#include <array>
#include <atomic>
#include <cstdint>
#include <memory>
#include <optional>
#include <vector>

#include "src/device/cuda/stream.h"
#include "src/exec/cuda/block_pool.h"
#include "src/exec/cuda/endpoints.h"
#include "src/exec/cuda/executor.h"
#include "src/exec/cuda/kernel_table.h"
#include "src/exec/cuda/launch_watch.h"
#include "src/exec/cuda/message_count.h"

namespace tutti::exec {

inline constexpr size_t kDeviceProtocols = 3;

// The records of one program, in one block of the GPU's memory. Lanes exist once per protocol: they
// differ in the endpoints of connections that have an inline FIFO.
struct DeviceProgram::State {
  ExecutorState* executor = nullptr;
  Block memory;
  bool in_graph = false;  // a graph has its address, so its memory is not used again
  const DeviceProgramState* state = nullptr;
  const DeviceLaneState* lane_states = nullptr;
  struct Variant {
    const DeviceLane* lanes = nullptr;
    DeviceProtocol protocol = DeviceProtocol::kSimple;  // of PlanArgs
    size_t most_chunk_bytes = SIZE_MAX;                 // that every connection carries
  };
  std::array<Variant, kDeviceProtocols> variants;  // by DeviceLaunch::protocol
  uint32_t n_lanes = 0;
  uint32_t arena_bytes = 0;

  uint32_t tiles_in_flight = 1;
  uint32_t scratch_chunks = 0;
  // Lengths of a binding's arrays.
  size_t n_block_counts = 0;
  size_t n_input_offsets = 0;
  size_t n_output_offsets = 0;

  Connections connections;
  std::vector<ExchangingSteps> exchanging;
};

// Which stream a launch goes into, and what comes of it.
struct Place {
  cuda::Stream stream = nullptr;
  std::optional<uint64_t> capture;
  uint64_t number = 0;  // of the launch; 0: captured
};

struct Submission {
  Place place;
  cuda::Function function = nullptr;
  unsigned blocks = 1;
  unsigned shared_bytes = 0;
  uint64_t call = 0;  // DeviceLaunch::call
};

struct ExecutorState {
  // Some GPU's context is current.
  explicit ExecutorState(const DeviceExecutor::Settings& settings);

  Place place_of(cuda::Stream stream) const;
  // What DeviceExecutor::order() and mark() say.
  void go_behind_others(const Place& place) const;
  void let_others_follow(const Place& place);
  // Puts the kernel behind all others. `watched` is part of its arguments, and filled here.
  void submit(const Submission& kernel, gpu::Watch& watched, void* arguments);
  // Launches up to this number have ended.
  uint64_t ended() const noexcept { return watch.last_number(); }
  void expect_room_for(size_t n_lanes, unsigned most, const char* what) const;
  // False: a kernel does not end.
  bool wait_until_idle() const noexcept;
  bool idle() const noexcept;
  // The caller's work that belongs to launches outside of captures, too.
  bool all_done() const noexcept;
  Status gpu_failure() const noexcept;

  const DeviceExecutor::Settings settings;
  cuda::Gpu gpu;
  KernelTable kernels;
  unsigned most_blocks;  // of a launch
  DeviceBlocks memory;
  Block shared_state;  // zero at first: gpu::LaunchState, and DeviceProgramState of transfers
  LaunchWatch watch;
  PinnedBlocks pinned;
  DeviceScratch scratch;
  DeviceEndpoints endpoints;
  // Written by the thread that launches, never below what has ended; relaxed: a count of its own.
  std::atomic<uint64_t> issued{0};

 private:
  // Of the last launch outside of captures, and of the last one of a capture.
  cuda::OwnedEvent launched_;
  std::optional<uint64_t> launched_stream_;
  cuda::OwnedEvent captured_;
  uint64_t captured_stream_ = 0;
  std::optional<uint64_t> last_capture_;
};

inline constexpr size_t kTransfersState = 64;  // of DeviceProgramState in shared_state

}  // namespace tutti::exec
