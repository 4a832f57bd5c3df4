// SPDX-License-Identifier: Apache-2.0
// IPC handles behind owning objects.
#include "src/device/cuda/ipc.h"

#include <array>
#include <cstring>
#include <map>
#include <utility>

#include <spdlog/fmt/fmt.h>

#include "src/base/error.h"
#include "src/base/process_local.h"
#include "src/device/cuda/driver.h"
#include "src/device/cuda/stream.h"

namespace tutti::cuda {
namespace {

constexpr size_t kUnitBytes = size_t{2} << 20;

// What this process has opened: by GPU and handle. Entries whose object has gone are dropped when
// another is added.
using HandleBytes = std::array<char, sizeof(IpcMemHandle)>;
struct Opened {
  std::map<std::pair<Device, HandleBytes>, std::weak_ptr<const OpenedMemory>> memory;
};

}  // namespace

ShareableMemory::ShareableMemory(std::shared_ptr<const Gpu> gpu, size_t bytes)
    : gpu_(std::move(gpu)) {
  const RelaxedCapture relaxed;
  memory_ = DeviceMemory(*gpu_, (bytes + kUnitBytes - 1) / kUnitBytes * kUnitBytes);
}

ShareableMemory::~ShareableMemory() {
  try {
    const RelaxedCapture relaxed;
    memory_ = DeviceMemory();
  } catch (const Error&) {  // there is no driver any more, nor memory of its
    return;
  }
}

IpcMemHandle ShareableMemory::handle() const {
  const Current current(*gpu_);
  IpcMemHandle handle{};
  check(driver().cuIpcGetMemHandle(&handle, address()),
        fmt::format("a handle for memory of CUDA device {}, by which another process opens it",
                    gpu_->ordinal()));
  return handle;
}

std::shared_ptr<const OpenedMemory> OpenedMemory::open(const std::shared_ptr<const Gpu>& gpu,
                                                       const IpcMemHandle& handle) {
  HandleBytes bytes{};
  std::memcpy(bytes.data(), handle.reserved, bytes.size());
  return ProcessLocal<Opened>::with([&](Opened& opened) {
    std::erase_if(opened.memory, [](const auto& entry) { return entry.second.expired(); });
    auto& known = opened.memory[{gpu->ordinal(), bytes}];
    std::shared_ptr<const OpenedMemory> found = known.lock();
    if (found == nullptr) {
      found = std::shared_ptr<const OpenedMemory>(new OpenedMemory(gpu, handle));
      known = found;
    }
    return found;
  });
}

OpenedMemory::OpenedMemory(std::shared_ptr<const Gpu> gpu, const IpcMemHandle& handle)
    : gpu_(std::move(gpu)) {
  const RelaxedCapture relaxed;
  const Current current(*gpu_);
  check(driver().cuIpcOpenMemHandle_v2(&address_, handle, kIpcLazyEnablePeerAccess),
        fmt::format("opening another process's GPU memory on CUDA device {}", gpu_->ordinal()));
}

OpenedMemory::~OpenedMemory() {
  try {
    const RelaxedCapture relaxed;
    const Current current(*gpu_);
    (void)driver().cuIpcCloseMemHandle(address_);
  } catch (const Error&) {  // as above
    return;
  }
}

}  // namespace tutti::cuda
