// SPDX-License-Identifier: Apache-2.0
// A rank's buffers in the memory of its GPU: the case's host buffers are copied there before a call
// and back after it.
#pragma once

#include <cstddef>

#include "src/device/cuda/gpu.h"
#include "src/device/cuda/memory.h"
#include "src/device/cuda/stream.h"
#include "tests/conformance/call.h"

namespace tutti::conformance {

class DeviceArena {
 public:
  // For host buffers within [host, host + bytes).
  DeviceArena(int device, std::byte* host, size_t bytes);

  tuttiStream_t stream() const { return reinterpret_cast<tuttiStream_t>(stream_.get()); }
  // The call on the GPU's copies of its buffers, as they are now.
  Call moved(const Call& call);
  // Waits for the stream, and copies all of it back.
  void bring_back();
  void wait() const { stream_.synchronize(); }

 private:
  std::byte* twin(std::byte* host) const;

  cuda::Gpu gpu_;
  std::byte* host_;
  cuda::DeviceMemory memory_;
  cuda::OwnedStream stream_;
};

// That the communicator of this rank is one of.
int device_of(int rank);

}  // namespace tutti::conformance
