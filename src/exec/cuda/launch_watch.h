// SPDX-License-Identifier: Apache-2.0
// The words by which kernels and the host tell each other how launches are going.
#pragma once

#include <bit>
#include <cstddef>
#include <cstdint>
#include <optional>

#include "src/device/cuda/memory.h"
#include "src/exec/cuda/executor.h"
#include "src/kernels/cuda/report.h"

namespace tutti::exec {

// One page-locked piece of memory, every part on lines of its own: {abort word, failure word,
// record, a report per block}. Any thread.
class LaunchWatch {
 public:
  // `state`: in the GPU's memory, zero.
  LaunchWatch(unsigned most_blocks, gpu::LaunchState* state);

  gpu::Watch watch(uint64_t call, uint64_t number) const noexcept;
  // Without `issued`.
  DeviceCounts counts() const noexcept;
  // Number of the last launch, outside of graphs, that has ended: it reads and writes nothing any
  // more.
  uint64_t last_number() const noexcept;
  bool running() const noexcept;
  std::optional<DeviceWaiting> waiting() const noexcept;
  bool waits_for(int rank) const noexcept;
  std::optional<DeviceFailure> failure() const noexcept;
  void abort() const noexcept;

 private:
  template <class T>
  T* host(size_t offset) const noexcept {
    return reinterpret_cast<T*>(memory_.host() + offset);
  }
  template <class T>
  T* device(size_t offset) const noexcept {
    return std::bit_cast<T*>(memory_.device() + offset);
  }
  std::optional<DeviceWaiting> report(unsigned block) const noexcept;

  const unsigned most_blocks_;
  gpu::LaunchState* const state_;
  cuda::PinnedMemory memory_;
};

}  // namespace tutti::exec
