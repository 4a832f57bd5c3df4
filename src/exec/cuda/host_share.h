// SPDX-License-Identifier: Apache-2.0
// Connection memory of the host as GPUs see it.
#pragma once

#include <cstddef>

#include "src/device/cuda/memory.h"

namespace tutti::exec {

// Registers memory with the driver for as long as an object for it lives. The driver registers a
// piece of memory once per process, while both ends of a connection may be ranks of this process,
// which end at different times; so those that share a base share its registration. The GPU's
// context is current where objects are made and ended. Any thread.
class HostShare {
 public:
  HostShare(std::byte* base, size_t bytes);
  ~HostShare();
  HostShare(const HostShare&) = delete;
  HostShare& operator=(const HostShare&) = delete;
  // The GPU's address of the base.
  cuda::DevicePtr device() const noexcept { return device_; }

 private:
  std::byte* base_;
  cuda::DevicePtr device_ = 0;
};

}  // namespace tutti::exec
