// SPDX-License-Identifier: Apache-2.0
// Memory of GPUs that peers can map, multicast objects over it, and host memory that GPUs can
// reach.
//
// Shared memory is made with the driver's virtual memory calls: an *allocation* is physical memory
// of one GPU, a *range* maps an allocation at an address of this process for the GPUs that may use
// it. A file descriptor carries an allocation to another process. Throws UnhandledCudaError unless
// said otherwise; destructors are silent.
#pragma once

#include <bit>
#include <cstddef>
#include <memory>
#include <span>

#include "src/base/file.h"
#include "src/device/cuda/abi.h"
#include "src/device/cuda/gpu.h"

namespace tutti::cuda {

// Physical memory, or a multicast object. Shared by its ranges and bindings.
class Allocation {
 public:
  // `bytes` is rounded up to what the GPU maps at once. Exportable where the GPU's facts say so.
  static std::shared_ptr<Allocation> create(const Gpu& gpu, size_t bytes);
  // Of another process, or of this one. The descriptor may be closed afterwards.
  static std::shared_ptr<Allocation> import(int fd, size_t bytes);
  ~Allocation();
  Allocation(const Allocation&) = delete;
  Allocation& operator=(const Allocation&) = delete;

  size_t bytes() const noexcept { return bytes_; }
  AllocationHandle handle() const noexcept { return handle_; }
  FileDescriptor export_descriptor() const;

 protected:
  Allocation(AllocationHandle handle, size_t bytes) : handle_(handle), bytes_(bytes) {}

 private:
  AllocationHandle handle_;
  size_t bytes_;
};

// Memory behind which every member GPU has memory of its own: a store goes to all, a reducing load
// gets the sum of all (NVLink SHARP). One process makes it, the others import its descriptor; then
// each adds its GPUs, and when all have been added each binds memory. The devices come from
// create(); bytes as multicast_bytes().
class Multicast final : public Allocation {
 public:
  static std::shared_ptr<Multicast> create(int n_devices, size_t bytes);
  static std::shared_ptr<Multicast> import_multicast(int fd, size_t bytes);
  ~Multicast() = default;

  void add(const Gpu& gpu);
  // All of `memory`, which stays mapped where it is, becomes this GPU's part. Waits in the driver
  // until every device has been added.
  void bind(std::shared_ptr<Allocation> memory);

 private:
  using Allocation::Allocation;
  std::shared_ptr<Allocation> bound_;  // shared: with the ranges that map it by itself
};
// `bytes` rounded up to what multicast objects of so many devices consist of.
size_t multicast_bytes(int n_devices, size_t bytes);

// An allocation at an address, readable and writable by the given GPUs.
class Range {
 public:
  Range() = default;
  Range(std::shared_ptr<Allocation> memory, std::span<const Gpu* const> users);
  ~Range() { reset(); }
  Range(Range&& other) noexcept;
  Range& operator=(Range&& other) noexcept;

  DevicePtr address() const noexcept { return address_; }
  size_t bytes() const noexcept { return memory_ == nullptr ? 0 : memory_->bytes(); }
  const std::shared_ptr<Allocation>& memory() const noexcept { return memory_; }
  template <typename T>
  T* as() const noexcept {
    return std::bit_cast<T*>(address_);
  }

 private:
  void reset() noexcept;

  std::shared_ptr<Allocation> memory_;  // shared: see Allocation
  DevicePtr address_ = 0;
};

// Memory of one GPU as cuMemAlloc gives it: for this process's kernels and copies, and for peers by
// IPC handles.
class DeviceMemory {
 public:
  DeviceMemory() = default;
  DeviceMemory(const Gpu& gpu, size_t bytes);  // zeroed, before the constructor returns
  ~DeviceMemory() { reset(); }
  DeviceMemory(DeviceMemory&& other) noexcept;
  DeviceMemory& operator=(DeviceMemory&& other) noexcept;

  DevicePtr address() const noexcept { return address_; }
  size_t bytes() const noexcept { return bytes_; }
  template <typename T>
  T* as() const noexcept {
    return std::bit_cast<T*>(address_);
  }

 private:
  void reset() noexcept;

  const Gpu* gpu_ = nullptr;  // outlives the memory
  DevicePtr address_ = 0;
  size_t bytes_ = 0;
};

// Page-locked host memory that every GPU reaches at one address.
class PinnedMemory {
 public:
  explicit PinnedMemory(size_t bytes);  // zeroed
  ~PinnedMemory();
  PinnedMemory(const PinnedMemory&) = delete;
  PinnedMemory& operator=(const PinnedMemory&) = delete;

  std::byte* host() const noexcept { return host_; }
  DevicePtr device() const noexcept { return device_; }
  size_t bytes() const noexcept { return bytes_; }

 private:
  std::byte* host_ = nullptr;
  DevicePtr device_ = 0;
  size_t bytes_;
};

// Memory of others (mappings of shared memory, mirrors of network connections) made reachable for
// GPUs, for as long as the object lives; it must not be unmapped meanwhile. Whole pages around the
// bytes are registered; memory that is registered already is left as it is.
class HostRegistration {
 public:
  HostRegistration() = default;
  HostRegistration(void* base, size_t bytes);
  ~HostRegistration() { reset(); }
  HostRegistration(HostRegistration&& other) noexcept;
  HostRegistration& operator=(HostRegistration&& other) noexcept;

  DevicePtr device() const noexcept { return device_; }  // of the first byte given

 private:
  void reset() noexcept;

  void* registered_ = nullptr;  // null: nothing is ours to end
  DevicePtr device_ = 0;
};

// What a pointer leads to.
enum class PointerKind : uint8_t {
  kHost,        // of the process, unknown to the driver
  kRegistered,  // of the host, page-locked by or registered with the driver
  kDevice,
  kManaged,  // moves between host and device
};
struct PointerFacts {
  PointerKind kind = PointerKind::kHost;
  Device device = -1;        // kDevice, kManaged: whose; kRegistered: by whom
  DevicePtr address = 0;     // for kernels; 0: they can't reach it
  DevicePtr range_base = 0;  // kDevice: of the allocation
  size_t range_bytes = 0;
};
// kHost for all that the driver does not know, also without a driver.
PointerFacts classify(const void* pointer) noexcept;

// A descriptor by which RDMA devices register [base, base + bytes) of a GPU's memory (whole pages
// of 64 KiB). Throws UnhandledCudaError when the GPU or the memory can't.
FileDescriptor export_dma_buf(DevicePtr base, size_t bytes);

}  // namespace tutti::cuda
