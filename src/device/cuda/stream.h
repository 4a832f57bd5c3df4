// SPDX-License-Identifier: Apache-2.0
// Streams, events, modules and launches.
#pragma once

#include <cstdint>
#include <optional>
#include <utility>

#include "src/device/cuda/abi.h"
#include "src/device/cuda/gpu.h"

namespace tutti::cuda {

// All throw UnhandledCudaError unless noexcept.

class OwnedStream {
 public:
  explicit OwnedStream(const Gpu& gpu);  // does not wait for the legacy stream
  ~OwnedStream();
  OwnedStream(const OwnedStream&) = delete;
  OwnedStream& operator=(const OwnedStream&) = delete;
  Stream get() const noexcept { return stream_; }
  void synchronize() const;

 private:
  Stream stream_ = nullptr;
};

// Without timing.
class OwnedEvent {
 public:
  explicit OwnedEvent(const Gpu& gpu);
  ~OwnedEvent();
  OwnedEvent(const OwnedEvent&) = delete;
  OwnedEvent& operator=(const OwnedEvent&) = delete;
  Event get() const noexcept { return event_; }
  void record(Stream stream) const;
  // Work that is put into `stream` from now on waits for what the event has recorded.
  void hold(Stream stream) const;
  bool done() const;

 private:
  Event event_ = nullptr;
};

// What is put into the stream now becomes part of a graph instead of running.
bool is_capturing(Stream stream);
// The number of the capture that the stream takes part in, perhaps with others; none: it runs.
std::optional<uint64_t> capture_of(Stream stream);
// Unlike the handle, never another stream's later on.
uint64_t id_of(Stream stream);

// While it lives, set-up by the calling thread (memory, modules, copies that are waited for) is
// allowed although some stream of the process is being captured.
class RelaxedCapture {
 public:
  RelaxedCapture();
  ~RelaxedCapture();
  RelaxedCapture(const RelaxedCapture&) = delete;
  RelaxedCapture& operator=(const RelaxedCapture&) = delete;

 private:
  CaptureMode mode_ = CaptureMode::kRelaxed;  // then: the one before
};

struct LaunchShape {
  unsigned blocks = 1;
  unsigned threads = 256;
  unsigned shared_bytes = 0;
  bool all_at_once = false;  // refuse unless all blocks fit on the GPU together: they wait for
                             // each other
};

// Kernels of one image for one GPU.
class Kernels {
 public:
  // `image`: a fat binary, cubin or PTX, which stays. The message names what the GPU would need
  // when the image has nothing for it.
  Kernels(const Gpu& gpu, const void* image);
  ~Kernels();
  Kernels(const Kernels&) = delete;
  Kernels& operator=(const Kernels&) = delete;

  Function find(const char* name) const;
  // Blocks of so many threads that the GPU runs at a time.
  int most_blocks(Function function, unsigned threads, unsigned shared_bytes) const;

 private:
  const Gpu& gpu_;
  Module module_ = nullptr;
};

// `arguments` is the kernel's only parameter.
void launch(Function function, const LaunchShape& shape, Stream stream, void* arguments);

}  // namespace tutti::cuda
