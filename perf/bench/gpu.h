// SPDX-License-Identifier: Apache-2.0
// The GPU of a rank: its buffers, its stream, and what the harness reads and writes there.
#pragma once

#include <array>
#include <cstddef>
#include <optional>
#include <string>

#include "perf/bench/options.h"
#include "src/device/cuda/gpu.h"
#include "src/device/cuda/memory.h"
#include "src/device/cuda/stream.h"
#include "tutti/tutti.h"

namespace tutti::bench {

// How the GPUs of a host are dealt out, as nccl-tests does it: to its processes in the order of
// their local ranks, in each to its threads, in each to their ranks.
struct Dealing {
  int local_rank = 0;
  int local_size = 1;
  int ranks = 1;  // of this process
};
// The GPU of the process's first rank, as --device and TUTTI_DEVICE say; the others have the next
// ones. kNoGpu: all are of the host. nullopt: there are not as many as asked for, which is said.
inline constexpr int kNoGpu = -1;
std::optional<int> first_gpu(const Options& options, const char* program, const Dealing& dealing);

// All of its functions throw the driver's errors (tutti::Error).
class RankGpu {
 public:
  explicit RankGpu(int device);

  int device() const { return gpu_.ordinal(); }
  const cuda::GpuFacts& facts() const { return gpu_.facts(); }
  tuttiStream_t stream() const { return reinterpret_cast<tuttiStream_t>(stream_.get()); }
  void wait() const { stream_.synchronize(); }

  // The rank's two buffers; once.
  std::array<std::byte*, 2> allocate(size_t bytes);
  // A place for the harness's own small calls, until the next call of this function.
  std::byte* scratch(size_t bytes);

  // In the stream's order; these two wait for the stream.
  void write(std::byte* to, const void* from, size_t bytes) const;
  void read(void* to, const std::byte* from, size_t bytes) const;
  void set(std::byte* to, int value, size_t bytes) const;
  void copy(void* to, const void* from, size_t bytes) const;  // within the GPU

 private:
  cuda::Gpu gpu_;
  cuda::OwnedStream stream_;
  std::array<cuda::DeviceMemory, 2> buffers_;
  cuda::DeviceMemory scratch_;
};

}  // namespace tutti::bench
