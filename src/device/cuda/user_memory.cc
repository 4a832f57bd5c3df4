// SPDX-License-Identifier: Apache-2.0
// The process-wide table of GPU memory that users have.
#include "src/device/cuda/user_memory.h"

#include <memory>
#include <mutex>
#include <unordered_map>
#include <vector>

#include <spdlog/fmt/fmt.h>

#include "src/base/error.h"
#include "src/device/cuda/driver.h"
#include "src/device/cuda/gpu.h"
#include "src/device/cuda/memory.h"
#include "src/device/cuda/pairs.h"

namespace tutti::cuda {
namespace {

// Keeps the GPU's context for as long as the memory is there.
struct UserMemory {
  explicit UserMemory(Device device) : gpu(device) {}
  Gpu gpu;
  Range range;          // where the GPU shares by descriptor
  DeviceMemory simple;  // where not
};

struct Table {
  std::mutex mutex;  // guards by_base; a leaf
  std::unordered_map<const void*, std::unique_ptr<UserMemory>> by_base;
};

// Never destroyed: memory that is not freed goes with the process, the driver perhaps before it.
Table& table() {
  static Table& one = *new Table;
  return one;
}

void open_to_all(const Range& range, Device owner) {
  const Driver& cuda = driver();
  std::vector<AccessDescriptor> access;
  for (Device device = 0; device < device_count(); ++device) {
    if (reaches(device, owner))
      access.push_back({{LocationType::kDevice, device}, AccessFlags::kReadWrite});
  }
  check(cuda.cuMemSetAccess(range.address(), range.bytes(), access.data(), access.size()),
        fmt::format("letting GPUs use memory of CUDA device {}", owner));
}

std::unique_ptr<UserMemory> make(Device device, size_t bytes) {
  auto memory = std::make_unique<UserMemory>(device);
  if (!memory->gpu.facts().shares_by_descriptor) {
    memory->simple = DeviceMemory(memory->gpu, bytes);
    return memory;
  }
  const Current current(memory->gpu);
  const Gpu* const owner[] = {&memory->gpu};
  memory->range = Range(Allocation::create(memory->gpu, bytes), owner);
  open_to_all(memory->range, device);
  return memory;
}

}  // namespace

void* allocate_for_user(Device device, size_t bytes) {
  std::unique_ptr<UserMemory> memory = make(device, bytes);
  void* const base =
      memory->range.memory() != nullptr ? memory->range.as<void>() : memory->simple.as<void>();
  Table& t = table();
  const std::lock_guard lock(t.mutex);
  t.by_base.emplace(base, std::move(memory));
  return base;
}

bool free_for_user(void* base) noexcept {
  Table& t = table();
  std::unique_ptr<UserMemory> memory;
  {
    const std::lock_guard lock(t.mutex);
    const auto at = t.by_base.find(base);
    if (at == t.by_base.end()) return false;
    memory = std::move(at->second);
    t.by_base.erase(at);
  }
  return true;  // freed without the lock
}

}  // namespace tutti::cuda
