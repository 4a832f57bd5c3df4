// SPDX-License-Identifier: Apache-2.0
// Pieces of memory that launches use, handed out again when the launches have ended.
#pragma once

#include <array>
#include <bit>
#include <cstddef>
#include <cstdint>
#include <deque>
#include <functional>
#include <memory>
#include <utility>
#include <vector>

#include "src/device/cuda/gpu.h"
#include "src/device/cuda/memory.h"
#include "src/device/cuda/stream.h"

namespace tutti::exec {

struct Block {
  cuda::DevicePtr device = 0;
  std::byte* host = nullptr;  // null: memory of the GPU
  size_t bytes = 0;           // a power of two
  template <class T>
  T* at(size_t offset) const noexcept {
    return std::bit_cast<T*>(device + offset);
  }
};

// By the thread that owns the progress. Memory is taken from the driver in large pieces, and given
// back to it when the pool ends.
class BlockPool {
 public:
  // A piece of at least so many bytes, 512-byte aligned, which lives as long as the pool.
  using More = std::function<Block(size_t bytes)>;
  BlockPool(size_t piece_bytes, More more) : piece_bytes_(piece_bytes), more_(std::move(more)) {}

  // `ended`: number of the last launch that has ended. What is in the block is not defined. It is
  // aligned to its size, to 512 bytes at most.
  Block take(size_t bytes, uint64_t ended);
  // `number`: of the last launch that uses it. Numbers rise from call to call.
  void give_back(const Block& block, uint64_t number);

 private:
  struct Used {
    Block block;
    uint64_t number;
  };
  static constexpr size_t kLeast = 64;
  static constexpr size_t kMostAlignment = 512;

  size_t piece_bytes_;
  More more_;
  Block piece_;  // what is left of the last one: from used_
  size_t used_ = 0;
  std::array<std::deque<Used>, 64> given_back_;  // by log2 of their bytes, the oldest first
};

// Memory of the GPU for programs, and how they get there: through a stream that waits for nobody's
// work, by copies, never by kernels, which would wait for a free multiprocessor.
class DeviceBlocks {
 public:
  explicit DeviceBlocks(const cuda::Gpu& gpu);
  Block take(size_t bytes, uint64_t ended) { return pool_.take(bytes, ended); }
  void give_back(const Block& block, uint64_t number) { pool_.give_back(block, number); }
  void write(cuda::DevicePtr to, const void* from, size_t bytes);
  void finish_writes();  // a launch after it sees what was written
  cuda::Stream stream() const noexcept { return stream_.get(); }

 private:
  const cuda::Gpu& gpu_;
  std::vector<cuda::Range> pieces_;
  BlockPool pool_;
  cuda::OwnedStream stream_;
  bool writing_ = false;
};

// Page-locked memory that the host writes and kernels read.
class PinnedBlocks {
 public:
  PinnedBlocks();
  Block take(size_t bytes, uint64_t ended) { return pool_.take(bytes, ended); }
  void give_back(const Block& block, uint64_t number) { pool_.give_back(block, number); }

 private:
  std::vector<std::unique_ptr<cuda::PinnedMemory>> pieces_;
  BlockPool pool_;
};

// One buffer for the scratch chunks of all programs, whose launches follow one another.
class DeviceScratch {
 public:
  explicit DeviceScratch(const cuda::Gpu& gpu) : gpu_(gpu) {}
  // Of at least so many bytes, for the launch of that number (0: of a graph). Contents are not
  // kept.
  std::byte* reserve(size_t bytes, uint64_t number, uint64_t ended);

 private:
  struct Buffer {
    cuda::Range range;
    uint64_t last_number = 0;
    bool in_graph = false;  // a graph has its address, so it stays
  };
  const cuda::Gpu& gpu_;
  Buffer now_;
  std::vector<Buffer> old_;
};

}  // namespace tutti::exec
