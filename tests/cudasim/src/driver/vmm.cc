// SPDX-License-Identifier: Apache-2.0
// Virtual memory management: memory, addresses, and who may use the one through the other.
#include <fcntl.h>
#include <unistd.h>

#include <spdlog/fmt/fmt.h>

#include "tests/cudasim/src/driver/call.h"
#include "tests/cudasim/src/driver/state.h"
#include "tests/cudasim/src/multicast.h"
#include "tests/cudasim/src/space.h"

namespace cudasim {

AllocationRecord& allocation_of(abi::AllocationHandle handle) {
  const auto at = state().allocations.find(handle);
  require(at != state().allocations.end(), Result::kInvalidValue, "no handle of memory");
  return at->second;
}

abi::AllocationHandle add_allocation(std::shared_ptr<Backing> backing,
                                     const abi::AllocationProperties& properties) {
  const abi::AllocationHandle handle = state().next_allocation++;
  state().allocations[handle] = {std::move(backing), properties};
  return handle;
}

void release_allocation(abi::AllocationHandle handle) {
  const auto at = state().allocations.find(handle);
  if (at != state().allocations.end() && at->second.references == 0 && at->second.mappings == 0)
    state().allocations.erase(at);
}

namespace {

void check_multiple(uint64_t value, const char* what) {
  if (value % kGranularity != 0)
    throw Failure(
        Result::kInvalidValue,
        fmt::format("{} {} is not a multiple of the granularity {}", what, value, kGranularity));
}

void check_properties(const abi::AllocationProperties& properties) {
  require(properties.type == abi::AllocationType::kPinned, Result::kInvalidValue,
          "memory must be pinned");
  require(properties.location.type == abi::LocationType::kDevice, Result::kNotSupported,
          "the simulator makes memory of devices only");
  check_device(properties.location.id);
  const auto types = static_cast<unsigned>(properties.requested_handle_types);
  require((types & ~1U) == 0, Result::kNotSupported,
          "the simulator exports POSIX file descriptors only");
}

// All regions that make up the range; throws when it has holes.
std::vector<Region*> mapped_regions(uint64_t address, uint64_t bytes) {
  std::vector<Region*> regions;
  uint64_t next = address;
  for (Region* const region : space().in_range(address, bytes)) {
    const bool vmm = region->kind == RegionKind::kMapped || region->kind == RegionKind::kMulticast;
    if (!vmm || region->freed.load(std::memory_order_relaxed)) continue;
    if (region->base != next) break;
    regions.push_back(region);
    next = region->base + region->bytes;
  }
  require(next == address + bytes && bytes > 0, Result::kInvalidValue,
          "the range is not one or several whole mappings");
  return regions;
}

void give_access(Region& region, const abi::AccessDescriptor& descriptor) {
  require(descriptor.location.type == abi::LocationType::kDevice, Result::kNotSupported,
          "access is given to devices only");
  const int device = check_device(descriptor.location.id);
  const bool peer = region.kind == RegionKind::kMapped && device != region.owner;
  if (peer && descriptor.flags != abi::AccessFlags::kNone &&
      !machine().can_access(device, region.owner))
    throw Failure(Result::kInvalidDevice,
                  fmt::format("device {} can't access device {}", device, region.owner));
  const uint64_t bit = uint64_t{1} << device;
  // relaxed: whoever launches a kernel after this has synchronised with its engine.
  region.readers.fetch_and(~bit, std::memory_order_relaxed);
  region.writers.fetch_and(~bit, std::memory_order_relaxed);
  if (descriptor.flags != abi::AccessFlags::kNone)
    region.readers.fetch_or(bit, std::memory_order_relaxed);
  if (descriptor.flags == abi::AccessFlags::kReadWrite)
    region.writers.fetch_or(bit, std::memory_order_relaxed);
}

}  // namespace
}  // namespace cudasim

namespace tutti::cuda {

using namespace cudasim;  // NOLINT(google-build-using-namespace): this file is the simulator's

Result cuMemAddressReserve(DevicePtr* pointer, size_t bytes, size_t alignment, DevicePtr,
                           unsigned long long flags) {
  return call("cuMemAddressReserve", [&] {
    require(flags == 0 && bytes > 0, Result::kInvalidValue, "flags, or 0 bytes");
    require((alignment & (alignment - 1)) == 0, Result::kInvalidValue, "no power of two");
    check_multiple(bytes, "a size of");
    *pointer = space().reserve(bytes, alignment);
    return Result::kSuccess;
  });
}

Result cuMemAddressFree(DevicePtr pointer, size_t bytes) {
  return call("cuMemAddressFree", [&] {
    for (const Region* const region : space().in_range(pointer, bytes))
      require(region->freed.load(std::memory_order_relaxed), Result::kInvalidValue,
              "something is still mapped there");
    space().unreserve(pointer, bytes);
    return Result::kSuccess;
  });
}

Result cuMemCreate(AllocationHandle* handle, size_t bytes, const AllocationProperties* properties,
                   unsigned long long flags) {
  return call("cuMemCreate", [&] {
    require(flags == 0 && bytes > 0 && properties != nullptr, Result::kInvalidValue,
            "flags, or 0 bytes, or no properties");
    check_multiple(bytes, "a size of");
    check_properties(*properties);
    const int device = properties->location.id;
    const Gpu& gpu = machine().gpus()[device];
    require(space().used_bytes(device) + bytes <= gpu.memory_bytes, Result::kOutOfMemory,
            "the device's memory is used up");
    auto backing = Backing::create(BackingKind::kMemory, device, bytes,
                                   static_cast<uint32_t>(properties->requested_handle_types));
    const Lock lock(engine().mutex());
    *handle = add_allocation(std::move(backing), *properties);
    return Result::kSuccess;
  });
}

Result cuMemRelease(AllocationHandle handle) {
  return call("cuMemRelease", [&] {
    const Lock lock(engine().mutex());
    AllocationRecord& record = allocation_of(handle);
    require(record.references > 0, Result::kInvalidValue, "released already");
    --record.references;
    release_allocation(handle);
    return Result::kSuccess;
  });
}

Result cuMemMap(DevicePtr pointer, size_t bytes, size_t offset, AllocationHandle handle,
                unsigned long long flags) {
  return call("cuMemMap", [&] {
    require(flags == 0 && bytes > 0, Result::kInvalidValue, "flags, or 0 bytes");
    check_multiple(bytes, "a size of");
    check_multiple(offset, "an offset of");
    check_multiple(pointer, "an address of");
    Lock lock(engine().mutex());
    const std::shared_ptr<Backing> backing = allocation_of(handle).backing;
    const Shared& shared = backing->shared();
    const bool multicast = shared.kind == BackingKind::kMulticast;
    const uint64_t size = multicast ? shared.requested_bytes : backing->data_bytes();
    require(offset + bytes <= size, Result::kInvalidValue, "the memory has fewer bytes");
    lock.unlock();
    if (multicast) wait_for_team(*backing);
    space().map(pointer, bytes, offset, handle, backing);
    lock.lock();
    ++allocation_of(handle).mappings;
    return Result::kSuccess;
  });
}

Result cuMemUnmap(DevicePtr pointer, size_t bytes) {
  return call("cuMemUnmap", [&] {
    for (Region* const region : mapped_regions(pointer, bytes)) {
      const Lock lock(engine().mutex());
      const AllocationHandle handle = region->allocation_handle;
      space().free(*region);
      --allocation_of(handle).mappings;
      release_allocation(handle);
    }
    if (!engine().is_running()) space().collect();
    return Result::kSuccess;
  });
}

Result cuMemSetAccess(DevicePtr pointer, size_t bytes, const AccessDescriptor* descriptors,
                      size_t count) {
  return call("cuMemSetAccess", [&] {
    for (Region* const region : mapped_regions(pointer, bytes))
      for (size_t i = 0; i < count; ++i) give_access(*region, descriptors[i]);
    return Result::kSuccess;
  });
}

Result cuMemGetAccess(unsigned long long* flags, const Location* location, DevicePtr pointer) {
  return call("cuMemGetAccess", [&] {
    const Region& region = space().live(pointer);
    const uint64_t bit = uint64_t{1} << check_device(location->id);
    const bool reads = (region.readers.load(std::memory_order_relaxed) & bit) != 0;
    const bool writes = (region.writers.load(std::memory_order_relaxed) & bit) != 0;
    *flags = static_cast<unsigned long long>(writes  ? AccessFlags::kReadWrite
                                             : reads ? AccessFlags::kRead
                                                     : AccessFlags::kNone);
    return Result::kSuccess;
  });
}

Result cuMemExportToShareableHandle(void* shareable, AllocationHandle handle, HandleType type,
                                    unsigned long long flags) {
  return call("cuMemExportToShareableHandle", [&] {
    require(flags == 0, Result::kInvalidValue, "flags must be 0");
    require(type == HandleType::kPosixFileDescriptor, Result::kNotSupported,
            "the simulator exports POSIX file descriptors only");
    const Lock lock(engine().mutex());
    const AllocationRecord& record = allocation_of(handle);
    require((record.backing->shared().handle_types & 1) != 0, Result::kInvalidValue,
            "the memory was made without that type of handle");
    const int fd = fcntl(record.backing->fd(), F_DUPFD_CLOEXEC, 0);
    require(fd >= 0, Result::kOperatingSystem, "fcntl");
    *static_cast<int*>(shareable) = fd;
    return Result::kSuccess;
  });
}

Result cuMemImportFromShareableHandle(AllocationHandle* handle, void* shareable, HandleType type) {
  return call("cuMemImportFromShareableHandle", [&] {
    require(type == HandleType::kPosixFileDescriptor, Result::kNotSupported,
            "the simulator imports POSIX file descriptors only");
    auto backing = Backing::adopt(static_cast<int>(reinterpret_cast<intptr_t>(shareable)));
    const Shared& shared = backing->shared();
    const AllocationProperties properties{
        .type = AllocationType::kPinned,
        .requested_handle_types = static_cast<HandleType>(shared.handle_types),
        .location = {LocationType::kDevice, shared.owner}};
    const Lock lock(engine().mutex());
    *handle = add_allocation(std::move(backing), properties);
    return Result::kSuccess;
  });
}

Result cuMemGetAllocationGranularity(size_t* bytes, const AllocationProperties* properties,
                                     Granularity) {
  return call("cuMemGetAllocationGranularity", [&] {
    check_properties(*properties);
    *bytes = kGranularity;
    return Result::kSuccess;
  });
}

Result cuMemGetAllocationPropertiesFromHandle(AllocationProperties* properties,
                                              AllocationHandle handle) {
  return call("cuMemGetAllocationPropertiesFromHandle", [&] {
    const Lock lock(engine().mutex());
    *properties = allocation_of(handle).properties;
    return Result::kSuccess;
  });
}

Result cuMemRetainAllocationHandle(AllocationHandle* handle, void* pointer) {
  return call("cuMemRetainAllocationHandle", [&] {
    const Region& region = space().live(reinterpret_cast<uint64_t>(pointer));
    require(region.kind == RegionKind::kMapped || region.kind == RegionKind::kMulticast,
            Result::kInvalidValue, "not mapped by cuMemMap");
    const Lock lock(engine().mutex());
    ++allocation_of(region.allocation_handle).references;
    *handle = region.allocation_handle;
    return Result::kSuccess;
  });
}

}  // namespace tutti::cuda
