// SPDX-License-Identifier: Apache-2.0
// A GPU with its primary context, and what it can do.
#pragma once

#include <string>

#include "src/device/cuda/abi.h"

namespace tutti::cuda {

struct GpuFacts {
  std::string name;         // "NVIDIA H100 80GB HBM3"
  std::string pci_address;  // "0000:1b:00.0"
  int capability = 0;       // 90 for 9.0
  int multiprocessors = 0;
  bool shares_by_descriptor = false;  // its memory can be exported as a file descriptor
  bool multicasts = false;            // NVLink multicast objects
  bool dma_buf = false;               // its memory can be registered with RDMA devices
  bool waits_on_values = false;       // 64-bit waits and writes in streams
};

// The primary context, which a program's own CUDA calls use too, is kept for as long as the object
// lives. Constant after construction; any thread.
class Gpu {
 public:
  explicit Gpu(Device ordinal);  // throws UnhandledCudaError; InvalidArgument: there is no such GPU
  ~Gpu();
  Gpu(const Gpu&) = delete;
  Gpu& operator=(const Gpu&) = delete;

  Device ordinal() const noexcept { return ordinal_; }
  Context context() const noexcept { return context_; }
  const GpuFacts& facts() const noexcept { return facts_; }
  // Over NVLink or PCIe, without going through the host's memory.
  bool reaches(const Gpu& peer) const noexcept;
  // Lets this GPU's kernels use memory that the peer has from cuMemAlloc. Once or often.
  void open_peer(const Gpu& peer) const;

 private:
  Device ordinal_;
  Context context_ = nullptr;
  GpuFacts facts_;
};

// While it lives, its GPU is the calling thread's; afterwards the one from before.
class Current {
 public:
  explicit Current(const Gpu& gpu);  // throws UnhandledCudaError
  ~Current();
  Current(const Current&) = delete;
  Current& operator=(const Current&) = delete;
};

// The GPU that the calling thread has chosen, by cuCtxSetCurrent or cudaSetDevice; -1: none, also
// where there is no driver.
Device current_device() noexcept;

}  // namespace tutti::cuda
