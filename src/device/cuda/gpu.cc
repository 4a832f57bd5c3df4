// SPDX-License-Identifier: Apache-2.0
// Primary contexts and device attributes.
#include "src/device/cuda/gpu.h"

#include <algorithm>
#include <cctype>

#include <spdlog/fmt/fmt.h>

#include "src/base/error.h"
#include "src/device/cuda/driver.h"
#include "src/device/cuda/pairs.h"

namespace tutti::cuda {
namespace {

// 0 for what the driver does not know.
int attribute(const Driver& driver, Device device, DeviceAttribute which) {
  int value = 0;
  if (driver.cuDeviceGetAttribute(&value, which, device) != Result::kSuccess) return 0;
  return value;
}

GpuFacts facts_of(const Driver& driver, Device device) {
  const auto has = [&](DeviceAttribute which) { return attribute(driver, device, which) != 0; };
  GpuFacts facts;
  char name[128] = {};
  check(driver.cuDeviceGetName(name, sizeof name, device), "the GPU's name");
  facts.name = name;
  char address[32] = {};
  check(driver.cuDeviceGetPCIBusId(address, sizeof address, device), "the GPU's PCI address");
  facts.pci_address = address;
  std::transform(facts.pci_address.begin(), facts.pci_address.end(), facts.pci_address.begin(),
                 [](unsigned char c) { return static_cast<char>(std::tolower(c)); });
  facts.capability = 10 * attribute(driver, device, DeviceAttribute::kComputeCapabilityMajor) +
                     attribute(driver, device, DeviceAttribute::kComputeCapabilityMinor);
  facts.multiprocessors = attribute(driver, device, DeviceAttribute::kMultiprocessorCount);
  facts.shares_by_descriptor = has(DeviceAttribute::kVirtualMemoryManagementSupported) &&
                               has(DeviceAttribute::kHandleTypePosixFileDescriptorSupported);
  facts.multicasts =
      has(DeviceAttribute::kMulticastSupported) && driver.cuMulticastCreate != nullptr;
  facts.dma_buf = has(DeviceAttribute::kDmaBufSupported);
  facts.waits_on_values = has(DeviceAttribute::kCanUse64BitStreamMemOps);
  return facts;
}

}  // namespace

Gpu::Gpu(Device ordinal) : ordinal_(ordinal) {
  const Driver& cuda = driver();
  if (ordinal < 0 || ordinal >= device_count())
    throw Error(
        StatusCode::kInvalidArgument,
        fmt::format("expected a CUDA device from 0 to {}, got {}", device_count() - 1, ordinal));
  facts_ = facts_of(cuda, ordinal);
  check(cuda.cuDevicePrimaryCtxRetain(&context_, ordinal),
        fmt::format("the context of CUDA device {}", ordinal));
}

Gpu::~Gpu() {
  if (const Driver* const cuda = find_driver()) (void)cuda->cuDevicePrimaryCtxRelease_v2(ordinal_);
}

bool Gpu::reaches(const Gpu& peer) const noexcept { return cuda::reaches(ordinal_, peer.ordinal_); }

void Gpu::open_peer(const Gpu& peer) const {
  if (peer.ordinal_ == ordinal_) return;
  const Current current(*this);
  const Result result = driver().cuCtxEnablePeerAccess(peer.context_, 0);
  if (result == Result::kPeerAccessAlreadyEnabled) return;
  check(result,
        fmt::format("access of CUDA device {} to the memory of {}", ordinal_, peer.ordinal_));
}

Current::Current(const Gpu& gpu) {
  check(driver().cuCtxPushCurrent_v2(gpu.context()),
        fmt::format("making CUDA device {} the current one", gpu.ordinal()));
}

Current::~Current() {
  Context popped = nullptr;
  if (const Driver* const cuda = find_driver()) (void)cuda->cuCtxPopCurrent_v2(&popped);
}

Device current_device() noexcept {
  const Driver* const cuda = find_driver();
  Context context = nullptr;
  Device device = -1;
  if (cuda == nullptr || cuda->cuCtxGetCurrent(&context) != Result::kSuccess || context == nullptr)
    return -1;
  return cuda->cuCtxGetDevice(&device) == Result::kSuccess ? device : -1;
}

}  // namespace tutti::cuda
