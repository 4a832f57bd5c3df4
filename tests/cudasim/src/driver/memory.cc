// SPDX-License-Identifier: Apache-2.0
// Memory of devices and of the host, by the calls that map it at once.
#include <algorithm>
#include <cstring>

#include <spdlog/fmt/fmt.h>
#include <sys/mman.h>

#include "tests/cudasim/src/driver/call.h"
#include "tests/cudasim/src/driver/state.h"
#include "tests/cudasim/src/space.h"

namespace cudasim {
namespace {

void* map_pages(uint64_t bytes) {
  void* const at = mmap(nullptr, round_up(bytes, kPage), PROT_READ | PROT_WRITE,
                        MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  require(at != MAP_FAILED, Result::kOutOfMemory, "mmap");
  return at;
}

void check_room(int device, uint64_t bytes) {
  const uint64_t total = machine().gpus()[device].memory_bytes;
  if (space().used_bytes(device) + bytes > total)
    throw Failure(Result::kOutOfMemory,
                  fmt::format("device {} has {} bytes of memory in all", device, total));
}

void* allocate_host(uint64_t bytes, unsigned flags, RegionKind kind) {
  require(bytes > 0, Result::kInvalidValue, "0 bytes");
  void* const at = map_pages(bytes);
  space().add_host(kind, at, bytes, flags);
  return at;
}

// As the driver does: nothing that was submitted may still use it.
void free_after_work(Region& region) {
  if (abi::ContextObject* const context = current_or_null(); context != nullptr) {
    Lock lock(engine().mutex());
    drain(lock, *context);
  }
  space().free(region);
  if (!engine().is_running()) space().collect();
}

}  // namespace
}  // namespace cudasim

namespace tutti::cuda {

using namespace cudasim;  // NOLINT(google-build-using-namespace): this file is the simulator's

Result cuMemGetInfo_v2(size_t* free_bytes, size_t* total_bytes) {
  return call("cuMemGetInfo", [&] {
    const int device = current_context().device;
    *total_bytes = machine().gpus()[device].memory_bytes;
    *free_bytes = *total_bytes - space().used_bytes(device);
    return Result::kSuccess;
  });
}

Result cuMemAlloc_v2(DevicePtr* pointer, size_t bytes) {
  return call("cuMemAlloc", [&] {
    require(pointer != nullptr && bytes > 0, Result::kInvalidValue, "no place, or 0 bytes");
    const int device = usable_context().device;
    check_room(device, bytes);
    *pointer = space()
                   .allocate(RegionKind::kDevice, device, bytes,
                             Backing::create(BackingKind::kMemory, device, bytes, 0))
                   .base;
    return Result::kSuccess;
  });
}

Result cuMemFree_v2(DevicePtr pointer) {
  return call("cuMemFree", [&] {
    if (pointer == 0) return Result::kSuccess;
    current_context();
    check_not_capturing();
    Region& region = space().live(pointer);
    const bool own = region.kind == RegionKind::kDevice || region.kind == RegionKind::kManaged;
    if (!own || region.base != pointer)
      throw Failure(Result::kInvalidValue, fmt::format("0x{:x} is not what cuMemAlloc returned: {}",
                                                       pointer, space().describe(region)));
    free_after_work(region);
    return Result::kSuccess;
  });
}

Result cuMemAllocManaged(DevicePtr* pointer, size_t bytes, unsigned flags) {
  return call("cuMemAllocManaged", [&] {
    usable_context();
    *pointer = reinterpret_cast<DevicePtr>(allocate_host(bytes, flags, RegionKind::kManaged));
    return Result::kSuccess;
  });
}

Result cuMemGetAddressRange_v2(DevicePtr* base, size_t* bytes, DevicePtr pointer) {
  return call("cuMemGetAddressRange", [&] {
    Region* const region = space().find(pointer);
    require(region != nullptr && !region->freed.load(std::memory_order_relaxed), Result::kNotFound,
            "no memory of the driver");
    if (base != nullptr) *base = region->base;
    if (bytes != nullptr) *bytes = region->bytes;
    return Result::kSuccess;
  });
}

Result cuMemGetHandleForAddressRange(void*, DevicePtr, size_t, RangeHandleType,
                                     unsigned long long) {
  return call("cuMemGetHandleForAddressRange", [&]() -> Result {
    throw Failure(Result::kNotSupported, "the simulator has no dma-buf");
  });
}

Result cuMemHostAlloc(void** pointer, size_t bytes, unsigned flags) {
  return call("cuMemHostAlloc", [&] {
    usable_context();
    *pointer = allocate_host(bytes, flags, RegionKind::kHost);
    return Result::kSuccess;
  });
}

Result cuMemAllocHost_v2(void** pointer, size_t bytes) { return cuMemHostAlloc(pointer, bytes, 0); }

Result cuMemFreeHost(void* pointer) {
  return call("cuMemFreeHost", [&] {
    if (pointer == nullptr) return Result::kSuccess;
    current_context();
    free_after_work(space().starting_at(reinterpret_cast<uint64_t>(pointer), RegionKind::kHost));
    return Result::kSuccess;
  });
}

Result cuMemHostGetDevicePointer_v2(DevicePtr* pointer, void* host, unsigned flags) {
  return call("cuMemHostGetDevicePointer", [&] {
    require(flags == 0, Result::kInvalidValue, "flags must be 0");
    const Region& region = space().live(reinterpret_cast<uint64_t>(host));
    require(region.is_host(), Result::kInvalidValue, "not host memory");
    *pointer = reinterpret_cast<DevicePtr>(host);
    return Result::kSuccess;
  });
}

Result cuMemHostGetFlags(unsigned* flags, void* host) {
  return call("cuMemHostGetFlags", [&] {
    const Region& region = space().live(reinterpret_cast<uint64_t>(host));
    require(region.kind == RegionKind::kHost, Result::kInvalidValue, "not by cuMemHostAlloc");
    *flags = region.flags;
    return Result::kSuccess;
  });
}

Result cuMemHostRegister_v2(void* host, size_t bytes, unsigned flags) {
  return call("cuMemHostRegister", [&] {
    require(host != nullptr && bytes > 0, Result::kInvalidValue, "no memory");
    require((flags & kHostRegisterIoMemory) == 0, Result::kNotSupported, "I/O memory");
    usable_context();
    // The driver would pin the pages: they must be there.
    const uint64_t from = reinterpret_cast<uint64_t>(host) / kPage * kPage;
    const uint64_t pages = round_up(reinterpret_cast<uint64_t>(host) + bytes, kPage) - from;
    std::vector<unsigned char> present(pages / kPage);
    if (mincore(reinterpret_cast<void*>(from), pages, present.data()) != 0)
      throw Failure(Result::kInvalidValue, "part of the range is not mapped");
    space().add_host(RegionKind::kRegistered, host, bytes, flags);
    return Result::kSuccess;
  });
}

Result cuMemHostUnregister(void* host) {
  return call("cuMemHostUnregister", [&] {
    current_context();
    Region* const region = space().find(reinterpret_cast<uint64_t>(host));
    require(region != nullptr && region->kind == RegionKind::kRegistered &&
                region->base == reinterpret_cast<uint64_t>(host) &&
                !region->freed.load(std::memory_order_relaxed),
            Result::kHostMemoryNotRegistered, "not the start of registered memory");
    free_after_work(*region);
    return Result::kSuccess;
  });
}

}  // namespace tutti::cuda
