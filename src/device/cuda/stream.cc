// SPDX-License-Identifier: Apache-2.0
// The driver's stream, event, module and launch calls behind owning objects.
#include "src/device/cuda/stream.h"

#include <spdlog/fmt/fmt.h>

#include "src/device/cuda/driver.h"

namespace tutti::cuda {

OwnedStream::OwnedStream(const Gpu& gpu) {
  const Current current(gpu);
  check(driver().cuStreamCreate(&stream_, kStreamNonBlocking),
        fmt::format("a stream on CUDA device {}", gpu.ordinal()));
}

OwnedStream::~OwnedStream() {
  if (const Driver* const cuda = find_driver()) (void)cuda->cuStreamDestroy_v2(stream_);
}

void OwnedStream::synchronize() const {
  check(driver().cuStreamSynchronize(stream_), "waiting for a stream");
}

OwnedEvent::OwnedEvent(const Gpu& gpu) {
  const Current current(gpu);
  check(driver().cuEventCreate(&event_, kEventDisableTiming),
        fmt::format("an event on CUDA device {}", gpu.ordinal()));
}

OwnedEvent::~OwnedEvent() {
  if (const Driver* const cuda = find_driver()) (void)cuda->cuEventDestroy_v2(event_);
}

void OwnedEvent::record(Stream stream) const {
  check(driver().cuEventRecord(event_, stream), "recording an event");
}

void OwnedEvent::hold(Stream stream) const {
  check(driver().cuStreamWaitEvent(stream, event_, 0), "making a stream wait for an event");
}

bool OwnedEvent::done() const {
  const Result result = driver().cuEventQuery(event_);
  if (result == Result::kNotReady) return false;
  check(result, "asking for an event");
  return true;
}

bool is_capturing(Stream stream) {
  CaptureStatus status = CaptureStatus::kNone;
  check(driver().cuStreamIsCapturing(stream, &status), "asking whether a stream is captured");
  return status != CaptureStatus::kNone;
}

std::optional<uint64_t> capture_of(Stream stream) {
  CaptureStatus status = CaptureStatus::kNone;
  uint64_t id = 0;
  check(driver().cuStreamGetCaptureInfo_v2(stream, &status, &id, nullptr, nullptr, nullptr),
        "asking which capture a stream belongs to");
  if (status == CaptureStatus::kNone) return std::nullopt;
  return id;
}

uint64_t id_of(Stream stream) {
  unsigned long long id = 0;
  check(driver().cuStreamGetId(stream, &id), "a stream's number");
  return id;
}

RelaxedCapture::RelaxedCapture() {
  check(driver().cuThreadExchangeStreamCaptureMode(&mode_), "allowing set-up during a capture");
}

RelaxedCapture::~RelaxedCapture() {
  if (const Driver* const cuda = find_driver())
    (void)cuda->cuThreadExchangeStreamCaptureMode(&mode_);
}

Kernels::Kernels(const Gpu& gpu, const void* image) : gpu_(gpu) {
  const Current current(gpu);
  check(driver().cuModuleLoadData(&module_, image),
        fmt::format("kernels for CUDA device {} ({}, compute capability {}.{})", gpu.ordinal(),
                    gpu.facts().name, gpu.facts().capability / 10, gpu.facts().capability % 10));
}

Kernels::~Kernels() {
  const Driver* const cuda = find_driver();
  if (cuda == nullptr || cuda->cuCtxPushCurrent_v2(gpu_.context()) != Result::kSuccess) return;
  (void)cuda->cuModuleUnload(module_);
  Context popped = nullptr;
  (void)cuda->cuCtxPopCurrent_v2(&popped);
}

Function Kernels::find(const char* name) const {
  Function function = nullptr;
  check(driver().cuModuleGetFunction(&function, module_, name), fmt::format("kernel {}", name));
  return function;
}

int Kernels::most_blocks(Function function, unsigned threads, unsigned shared_bytes) const {
  const Current current(gpu_);
  int per_multiprocessor = 0;
  check(driver().cuOccupancyMaxActiveBlocksPerMultiprocessor(
            &per_multiprocessor, function, static_cast<int>(threads), shared_bytes),
        "how many blocks run at a time");
  return per_multiprocessor * gpu_.facts().multiprocessors;
}

void launch(Function function, const LaunchShape& shape, Stream stream, void* arguments) {
  void* parameters[] = {arguments};
  LaunchAttribute together{};
  together.id = LaunchAttributeId::kCooperative;
  together.value.cooperative = 1;
  const LaunchConfig config{.grid_x = shape.blocks,
                            .grid_y = 1,
                            .grid_z = 1,
                            .block_x = shape.threads,
                            .block_y = 1,
                            .block_z = 1,
                            .shared_bytes = shape.shared_bytes,
                            .stream = stream,
                            .attributes = &together,
                            .attribute_count = shape.all_at_once ? 1U : 0U};
  check(driver().cuLaunchKernelEx(&config, function, parameters, nullptr),
        fmt::format("launching {} blocks of {} threads", shape.blocks, shape.threads));
}

}  // namespace tutti::cuda
