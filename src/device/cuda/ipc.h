// SPDX-License-Identifier: Apache-2.0
// Memory of a GPU that other processes of the host open by a handle of 64 bytes (CUDA's legacy IPC,
// which needs no descriptor to be passed). Throws UnhandledCudaError; destructors are silent.
#pragma once

#include <cstddef>
#include <memory>

#include "src/device/cuda/abi.h"
#include "src/device/cuda/gpu.h"
#include "src/device/cuda/memory.h"

namespace tutti::cuda {

// Zeroed memory of one GPU. Other GPUs of this process reach it after Gpu::open_peer(). Set-up may
// happen while the program captures a stream.
class ShareableMemory {
 public:
  // `bytes` is rounded up to whole units of 2 MiB: the driver packs smaller allocations together,
  // and a handle opens all that lies in the unit.
  ShareableMemory(std::shared_ptr<const Gpu> gpu, size_t bytes);
  // Waits in the driver for kernels of this GPU. The caller sees to it that none uses the memory
  // any more, on any GPU.
  ~ShareableMemory();
  ShareableMemory(const ShareableMemory&) = delete;
  ShareableMemory& operator=(const ShareableMemory&) = delete;

  const Gpu& gpu() const noexcept { return *gpu_; }
  DevicePtr address() const noexcept { return memory_.address(); }
  size_t bytes() const noexcept { return memory_.bytes(); }
  // For other processes; this one has the address.
  IpcMemHandle handle() const;

 private:
  std::shared_ptr<const Gpu> gpu_;  // shared: the memory may outlive who made it
  DeviceMemory memory_;
};

// Memory of another process, where one GPU of this process reaches it.
class OpenedMemory {
 public:
  // The same object for the same memory and GPU while one lives: drivers differ in what a second
  // opening does.
  static std::shared_ptr<const OpenedMemory> open(const std::shared_ptr<const Gpu>& gpu,
                                                  const IpcMemHandle& handle);
  ~OpenedMemory();
  OpenedMemory(const OpenedMemory&) = delete;
  OpenedMemory& operator=(const OpenedMemory&) = delete;
  DevicePtr address() const noexcept { return address_; }

 private:
  OpenedMemory(std::shared_ptr<const Gpu> gpu, const IpcMemHandle& handle);

  std::shared_ptr<const Gpu> gpu_;  // shared: as above
  DevicePtr address_ = 0;
};

}  // namespace tutti::cuda
