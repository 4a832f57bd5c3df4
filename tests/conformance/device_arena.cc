// SPDX-License-Identifier: Apache-2.0
#include "tests/conformance/device_arena.h"

#include "src/device/cuda/driver.h"

namespace tutti::conformance {

DeviceArena::DeviceArena(int device, std::byte* host, size_t bytes)
    : gpu_(device), host_(host), memory_(gpu_, bytes), stream_(gpu_) {}

std::byte* DeviceArena::twin(std::byte* host) const {
  return host == nullptr ? nullptr : memory_.as<std::byte>() + (host - host_);
}

Call DeviceArena::moved(const Call& call) {
  const cuda::Current current(gpu_);
  cuda::check(cuda::driver().cuMemcpyHtoD_v2(memory_.address(), host_, memory_.bytes()), "copying");
  Call there = call;
  there.send = twin(call.send);
  there.recv = twin(call.recv);
  return there;
}

void DeviceArena::bring_back() {
  const cuda::Current current(gpu_);
  stream_.synchronize();
  cuda::check(cuda::driver().cuMemcpyDtoH_v2(host_, memory_.address(), memory_.bytes()), "copying");
}

int device_of(int rank) { return rank; }

}  // namespace tutti::conformance
