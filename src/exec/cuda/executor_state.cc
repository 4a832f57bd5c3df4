// SPDX-License-Identifier: Apache-2.0
// The parts of a device executor, and the order of its launches.
#include "src/exec/cuda/executor_state.h"

#include <algorithm>

#include <spdlog/fmt/fmt.h>

#include "src/base/clock.h"
#include "src/base/error.h"
#include "src/base/wait.h"
#include "src/device/cuda/driver.h"

namespace tutti::exec {
namespace {

// All that a block may have: then one fits on a multiprocessor for certain, and keeps it busy.
constexpr unsigned kThreads = gpu::kMostThreads;

unsigned threads_of(const DeviceExecutor::Settings& settings) noexcept {
  return settings.threads != 0 ? settings.threads : kThreads;
}

unsigned most_blocks_of(const DeviceExecutor::Settings& settings, const KernelTable& kernels) {
  if (settings.most_blocks == 0) return kernels.most_blocks();
  return std::min(settings.most_blocks, kernels.most_blocks());
}

Block zeroed_block(DeviceBlocks& memory, size_t bytes) {
  const Block block = memory.take(bytes, 0);
  const std::vector<std::byte> zeros(block.bytes);
  memory.write(block.device, zeros.data(), zeros.size());
  memory.finish_writes();
  return block;
}

}  // namespace

ExecutorState::ExecutorState(const DeviceExecutor::Settings& with)
    : settings(with),
      gpu(with.device),
      kernels(gpu, threads_of(with)),
      most_blocks(most_blocks_of(with, kernels)),
      memory(gpu),
      shared_state(zeroed_block(memory, kTransfersState + sizeof(DeviceProgramState))),
      watch(most_blocks, shared_state.at<gpu::LaunchState>(0)),
      scratch(gpu),
      endpoints(memory),
      launched_(gpu),
      captured_(gpu) {
  static_assert(sizeof(gpu::LaunchState) <= kTransfersState);
}

Place ExecutorState::place_of(cuda::Stream stream) const {
  Place place{.stream = stream, .capture = cuda::capture_of(stream)};
  // Relaxed: this thread has written it.
  if (!place.capture) place.number = issued.load(std::memory_order_relaxed) + 1;
  return place;
}

// A capture can't wait for what is outside of it; and what is outside waits for its replays only
// as the program orders them.
void ExecutorState::go_behind_others(const Place& place) const {
  if (place.capture) {
    const bool same = last_capture_ == place.capture;
    if (same && captured_stream_ != cuda::id_of(place.stream)) captured_.hold(place.stream);
    return;
  }
  if (launched_stream_ && *launched_stream_ != cuda::id_of(place.stream)) {
    launched_.hold(place.stream);
  }
}

// At once, not when another stream is used: until then the program may have ended this one.
void ExecutorState::let_others_follow(const Place& place) {
  if (place.capture) {
    captured_.record(place.stream);
    captured_stream_ = cuda::id_of(place.stream);
    last_capture_ = place.capture;
    return;
  }
  launched_.record(place.stream);
  launched_stream_ = cuda::id_of(place.stream);
}

void ExecutorState::submit(const Submission& kernel, gpu::Watch& watched, void* arguments) {
  const Place& place = kernel.place;
  watched = watch.watch(kernel.call, place.number);
  go_behind_others(place);
  const cuda::LaunchShape shape{.blocks = kernel.blocks,
                                .threads = threads_of(settings),
                                .shared_bytes = kernel.shared_bytes,
                                .all_at_once = true};
  const uint64_t before = issued.load(std::memory_order_relaxed);
  if (!place.capture) issued.store(place.number, std::memory_order_relaxed);
  try {
    cuda::launch(kernel.function, shape, place.stream, arguments);
  } catch (...) {
    issued.store(before, std::memory_order_relaxed);
    throw;
  }
  let_others_follow(place);
}

void ExecutorState::expect_room_for(size_t n_lanes, unsigned most, const char* what) const {
  const unsigned room = std::min(most, most_blocks);
  if (n_lanes <= room) return;
  throw Error(StatusCode::kInvalidUsage,
              fmt::format("{} of rank {} takes {} thread blocks that wait for each other; CUDA "
                          "device {} runs {} together: use fewer channels or peers at a time",
                          what, settings.rank, n_lanes, gpu.ordinal(), room));
}

bool ExecutorState::idle() const noexcept {
  return ended() == issued.load(std::memory_order_relaxed) && !watch.running();
}

namespace {

// Asking is not allowed while anybody captures in the strictest mode, unless by a relaxed thread.
template <class Ask>
cuda::Result ask(const cuda::Driver& cuda, Ask question) noexcept {
  cuda::CaptureMode mode = cuda::CaptureMode::kRelaxed;
  (void)cuda.cuThreadExchangeStreamCaptureMode(&mode);
  const cuda::Result result = question(cuda);
  (void)cuda.cuThreadExchangeStreamCaptureMode(&mode);
  return result;
}

}  // namespace

bool ExecutorState::all_done() const noexcept {
  const cuda::Driver* const cuda = cuda::find_driver();
  if (!idle() || cuda == nullptr) return idle();
  // What has never been recorded is done.
  return ask(*cuda, [&](const cuda::Driver& of) { return of.cuEventQuery(launched_.get()); }) !=
         cuda::Result::kNotReady;
}

Status ExecutorState::gpu_failure() const noexcept {
  const cuda::Driver* const cuda = cuda::find_driver();
  if (cuda == nullptr) return kOkStatus;
  // Nothing is put into this stream for long; once the GPU has failed every call says so.
  const cuda::Result result =
      ask(*cuda, [&](const cuda::Driver& of) { return of.cuStreamQuery(memory.stream()); });
  if (result == cuda::Result::kSuccess || result == cuda::Result::kNotReady) return kOkStatus;
  return {StatusCode::kUnhandledCudaError, -1,
          "the GPU has failed: a kernel of this process has crashed, or the device is lost"};
}

bool ExecutorState::wait_until_idle() const noexcept {
  constexpr int64_t kRunningNs = 10 * kNsPerSecond;  // kernels that were told to end take far less
  constexpr int64_t kQueuedNs = 60 * kNsPerSecond;   // behind work of the program
  uint64_t seen = UINT64_MAX;
  Deadline patience = Deadline::never();
  while (!all_done() && gpu_failure().ok()) {
    const DeviceCounts now = watch.counts();
    if (now.begun + now.ended != seen) {
      seen = now.begun + now.ended;
      patience = Deadline::after_ns(now.begun != now.ended ? kRunningNs : kQueuedNs);
    }
    if (patience.expired()) return false;
    sleep_ns(50 * kNsPerUs);
  }
  return true;
}

}  // namespace tutti::exec
