// SPDX-License-Identifier: Apache-2.0
// What the driver knows about an address.
#include <cstring>

#include "tests/cudasim/src/driver/call.h"
#include "tests/cudasim/src/driver/state.h"
#include "tests/cudasim/src/space.h"

namespace cudasim {
namespace {

using abi::PointerAttribute;

template <class T>
void put(void* to, T value) {
  std::memcpy(to, &value,
              sizeof(value));  // NOLINT(bugprone-sizeof-expression): a pointer is a value
}

abi::ContextObject* context_of(const Region& region) {
  return &primary_context(region.is_host() ? 0 : region.owner);
}

bool is_vmm(const Region& region) {
  return region.kind == RegionKind::kMapped || region.kind == RegionKind::kMulticast;
}

abi::HandleType handle_types(const Region& region) {
  if (!is_vmm(region)) return abi::HandleType::kNone;
  return static_cast<abi::HandleType>(region.shared()->handle_types);
}

Result get(void* data, PointerAttribute attribute, uint64_t pointer, const Region& region) {
  const bool host = region.is_host();
  switch (attribute) {
    case PointerAttribute::kContext:
      put<abi::Context>(data, is_vmm(region) ? nullptr : context_of(region));
      break;
    case PointerAttribute::kMemoryType:
      put(data, host && region.kind != RegionKind::kManaged ? abi::MemoryType::kHost
                                                            : abi::MemoryType::kDevice);
      break;
    case PointerAttribute::kDevicePointer:
      put(data, pointer);
      break;
    case PointerAttribute::kHostPointer:
      require(host, Result::kInvalidValue, "the host can't access it");
      put(data, pointer);
      break;
    case PointerAttribute::kSyncMemops:
      put<unsigned>(data, 0);
      break;
    case PointerAttribute::kBufferId:
      put<uint64_t>(data, region.id);
      break;
    case PointerAttribute::kIsManaged:
      put<unsigned>(data, region.kind == RegionKind::kManaged ? 1 : 0);
      break;
    case PointerAttribute::kDeviceOrdinal:
      put<int>(data, host ? 0 : region.owner);
      break;
    case PointerAttribute::kIsLegacyIpcCapable:
      put<unsigned>(data, region.kind == RegionKind::kDevice ? 1 : 0);
      break;
    case PointerAttribute::kRangeStartAddr:
    case PointerAttribute::kMappingBaseAddr:
      put(data, region.base);
      break;
    case PointerAttribute::kRangeSize:
    case PointerAttribute::kMappingSize:
      put(data, region.bytes);
      break;
    case PointerAttribute::kMapped:
      put<unsigned>(data, 1);
      break;
    case PointerAttribute::kAllowedHandleTypes:
      put(data, handle_types(region));
      break;
    case PointerAttribute::kIsGpuDirectRdmaCapable:
      put<unsigned>(data, 0);
      break;
    case PointerAttribute::kAccessFlags:
      put(data, abi::AccessFlags::kReadWrite);
      break;
    default:
      throw Failure(Result::kInvalidValue, "an attribute that the simulator has not");
  }
  return Result::kSuccess;
}

Region* known(uint64_t pointer) {
  Region* const region = space().find(pointer);
  if (region == nullptr || region->freed.load(std::memory_order_relaxed)) return nullptr;
  return region;
}

// Of cuPointerGetAttributes: what is asked of an address that the driver does not know.
void put_nothing(void* data, PointerAttribute attribute) {
  switch (attribute) {
    case PointerAttribute::kDeviceOrdinal:
      return put<int>(data, -2);
    case PointerAttribute::kContext:
    case PointerAttribute::kDevicePointer:
    case PointerAttribute::kHostPointer:
    case PointerAttribute::kBufferId:
    case PointerAttribute::kRangeStartAddr:
    case PointerAttribute::kRangeSize:
    case PointerAttribute::kMappingSize:
    case PointerAttribute::kMappingBaseAddr:
      return put<uint64_t>(data, 0);
    default:
      return put<unsigned>(data, 0);
  }
}

}  // namespace
}  // namespace cudasim

namespace tutti::cuda {

using namespace cudasim;  // NOLINT(google-build-using-namespace): this file is the simulator's

Result cuPointerGetAttribute(void* data, PointerAttribute attribute, DevicePtr pointer) {
  return call("cuPointerGetAttribute", [&] {
    const Region* const region = known(pointer);
    require(region != nullptr && data != nullptr, Result::kInvalidValue,
            "the driver does not know the address");
    return get(data, attribute, pointer, *region);
  });
}

Result cuPointerGetAttributes(unsigned count, PointerAttribute* attributes, void** data,
                              DevicePtr pointer) {
  return call("cuPointerGetAttributes", [&] {
    const Region* const region = known(pointer);
    for (unsigned i = 0; i < count; ++i) {
      put_nothing(data[i], attributes[i]);
      const bool host_pointer = attributes[i] == PointerAttribute::kHostPointer;
      if (region == nullptr || (host_pointer && !region->is_host())) continue;
      get(data[i], attributes[i], pointer, *region);
    }
    return Result::kSuccess;
  });
}

Result cuPointerSetAttribute(const void*, PointerAttribute attribute, DevicePtr pointer) {
  return call("cuPointerSetAttribute", [&] {
    space().live(pointer);
    require(attribute == PointerAttribute::kSyncMemops, Result::kInvalidValue,
            "only the attribute for synchronous memory operations can be set");
    return Result::kSuccess;  // synchronous copies always are
  });
}

}  // namespace tutti::cuda
