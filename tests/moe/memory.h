// SPDX-License-Identifier: Apache-2.0
// Bytes of a test that end where nobody may touch anything: of the host, or of a GPU with a copy at
// the host. And a GPU's stream, of which calls may become graphs.
#pragma once

#include <cstddef>
#include <cstdint>
#include <functional>

#include "src/device/cuda/gpu.h"
#include "src/device/cuda/memory.h"
#include "src/device/cuda/stream.h"
#include "tutti/tutti.h"

namespace tutti::moe_test {

inline constexpr uint8_t kGuard = 0xa5;

class Memory {
 public:
  // Filled with kGuard. `gpu` null: of the host; `shared`: from tuttiMemAlloc.
  Memory(size_t bytes, const cuda::Gpu* gpu, bool shared = false);
  ~Memory();
  Memory(const Memory&) = delete;
  Memory& operator=(const Memory&) = delete;

  uint8_t* data() const { return data_; }  // at the host
  void* given() const;                     // what calls get
  size_t bytes() const { return bytes_; }
  bool untouched(size_t from, size_t bytes) const;
  void fill();
  // Between the host's copy and the GPU's; nothing where there is none.
  void push() const;
  void pull() const;

 private:
  size_t bytes_;
  size_t whole_ = 0;
  void* base_ = nullptr;    // of a mapping
  void* shared_ = nullptr;  // of tuttiMemAlloc
  uint8_t* data_ = nullptr;
  const cuda::Gpu* gpu_;
  cuda::DeviceMemory device_;
};

// What a stream has captured, to be replayed.
class Graph {
 public:
  Graph() = default;
  ~Graph();
  Graph(const Graph&) = delete;
  Graph& operator=(const Graph&) = delete;
  bool made() const { return graph_ != nullptr; }
  void capture(const cuda::OwnedStream& stream, const std::function<void()>& calls);
  void replay(const cuda::OwnedStream& stream) const;

 private:
  void* graph_ = nullptr;
};

}  // namespace tutti::moe_test
