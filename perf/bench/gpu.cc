// SPDX-License-Identifier: Apache-2.0
// By the driver alone, opened where there is one.
#include "perf/bench/gpu.h"

#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <string>

#include "src/device/cuda/driver.h"

namespace tutti::bench {
namespace {

cuda::DevicePtr address(const void* pointer) { return reinterpret_cast<uintptr_t>(pointer); }

// What TUTTI_DEVICE says, where it is the number of a GPU: that of the process's first rank.
std::optional<int> numbered_gpu(const std::string& text) {
  if (text.empty() || text.find_first_not_of("0123456789") != std::string::npos || text.size() > 4)
    return std::nullopt;
  return std::atoi(text.c_str());
}

}  // namespace

std::optional<int> first_gpu(const Options& options, const char* program, const Dealing& dealing) {
  const char* const variable = std::getenv("TUTTI_DEVICE");
  const std::string chosen = variable == nullptr ? "" : variable;
  const bool open = options.place == Place::kAuto;
  if (options.place == Place::kHost || (open && chosen == "host")) return kNoGpu;
  const std::optional<int> numbered = numbered_gpu(chosen);
  const int first = numbered.value_or(dealing.local_rank * dealing.ranks);
  const int needed =
      numbered.has_value() ? first + dealing.ranks : dealing.local_size * dealing.ranks;
  const int there = cuda::device_count();
  if (needed <= there) return first;
  const bool insists = !open || numbered.has_value();
  if (insists || there != 0) {
    std::fprintf(stderr, "%s: GPUs 0 to %d are needed, one for each rank; there are %d%s%s\n",
                 program, needed - 1, there, there == 0 ? ": " : "", cuda::driver_reason().c_str());
  }
  return insists ? std::nullopt : std::optional(kNoGpu);
}

RankGpu::RankGpu(int device) : gpu_(device), stream_(gpu_) {}

std::array<std::byte*, 2> RankGpu::allocate(size_t bytes) {
  for (cuda::DeviceMemory& buffer : buffers_) buffer = cuda::DeviceMemory(gpu_, bytes);
  return {buffers_[0].as<std::byte>(), buffers_[1].as<std::byte>()};
}

std::byte* RankGpu::scratch(size_t bytes) {
  if (scratch_.bytes() < bytes) scratch_ = cuda::DeviceMemory(gpu_, bytes);
  return scratch_.as<std::byte>();
}

void RankGpu::write(std::byte* to, const void* from, size_t bytes) const {
  if (bytes == 0) return;
  const cuda::Current current(gpu_);
  cuda::check(cuda::driver().cuMemcpyHtoDAsync_v2(address(to), from, bytes, stream_.get()),
              "copying to the GPU");
  wait();
}

void RankGpu::read(void* to, const std::byte* from, size_t bytes) const {
  if (bytes == 0) return;
  const cuda::Current current(gpu_);
  cuda::check(cuda::driver().cuMemcpyDtoHAsync_v2(to, address(from), bytes, stream_.get()),
              "copying from the GPU");
  wait();
}

void RankGpu::set(std::byte* to, int value, size_t bytes) const {
  if (bytes == 0) return;
  const cuda::Current current(gpu_);
  cuda::check(cuda::driver().cuMemsetD8Async(address(to), static_cast<unsigned char>(value), bytes,
                                             stream_.get()),
              "setting memory of the GPU");
}

void RankGpu::copy(void* to, const void* from, size_t bytes) const {
  if (bytes == 0) return;
  const cuda::Current current(gpu_);
  cuda::check(cuda::driver().cuMemcpyDtoDAsync_v2(address(to), address(from), bytes, stream_.get()),
              "copying within the GPU");
}

}  // namespace tutti::bench
