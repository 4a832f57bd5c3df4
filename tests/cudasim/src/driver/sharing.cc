// SPDX-License-Identifier: Apache-2.0
// What other processes may open: memory and events by IPC handles, multicast objects.
#include <cstring>
#include <ctime>

#include <spdlog/fmt/fmt.h>

#include "tests/cudasim/src/config.h"
#include "tests/cudasim/src/driver/call.h"
#include "tests/cudasim/src/driver/state.h"
#include "tests/cudasim/src/multicast.h"
#include "tests/cudasim/src/space.h"

namespace cudasim {
namespace {

// What an IPC handle's 64 bytes are.
struct IpcName {
  uint32_t magic;
  BackingKind kind;
  FileName file;
  uint64_t bytes;
};
static_assert(sizeof(IpcName) <= 64);

template <class Handle>
Handle handle_of(const Backing& backing) {
  Handle handle{};
  const IpcName name{Shared::kMagic, backing.shared().kind, backing.name(),
                     backing.shared().requested_bytes};
  std::memcpy(handle.reserved, &name, sizeof(name));
  return handle;
}

template <class Handle>
std::shared_ptr<Backing> open_handle(const Handle& handle, BackingKind kind) {
  IpcName name{};
  std::memcpy(&name, handle.reserved, sizeof(name));
  require(name.magic == Shared::kMagic && name.kind == kind, Result::kInvalidValue,
          "not a handle of that kind");
  return Backing::open(name.file);
}

}  // namespace

void wait_for_team(const Backing& multicast) {
  const int64_t deadline =
      now_ns() + (config().hang_ms > 0 ? config().hang_ms : 60'000) * 1'000'000;
  while (!is_complete(multicast)) {
    if (now_ns() > deadline)
      throw Failure(Result::kTimeout,
                    fmt::format("{} of {} devices were added to the multicast object",
                                multicast.shared().added.load(std::memory_order_relaxed),
                                multicast.shared().device_count));
    const timespec nap{0, 100'000};
    nanosleep(&nap, nullptr);
  }
}

}  // namespace cudasim

namespace tutti::cuda {

using namespace cudasim;  // NOLINT(google-build-using-namespace): this file is the simulator's

Result cuIpcGetMemHandle(IpcMemHandle* handle, DevicePtr pointer) {
  return call("cuIpcGetMemHandle", [&] {
    usable_context();
    const Region& region = space().live(pointer);
    if (region.kind != RegionKind::kDevice)
      throw Failure(Result::kInvalidValue,
                    "IPC shares memory of cuMemAlloc, not " + space().describe(region));
    *handle = handle_of<IpcMemHandle>(*region.backing);
    return Result::kSuccess;
  });
}

Result cuIpcOpenMemHandle_v2(DevicePtr* pointer, IpcMemHandle handle, unsigned flags) {
  return call("cuIpcOpenMemHandle", [&] {
    const int device = usable_context().device;
    require(flags == kIpcLazyEnablePeerAccess, Result::kInvalidValue,
            "flags must be CU_IPC_MEM_LAZY_ENABLE_PEER_ACCESS");
    std::shared_ptr<Backing> backing = open_handle(handle, BackingKind::kMemory);
    const Shared& shared = backing->shared();
    if (shared.owner != device && !machine().can_access(device, shared.owner))
      throw Failure(Result::kPeerAccessUnsupported,
                    fmt::format("device {} can't access device {}", device, shared.owner));
    const uint64_t bytes = shared.requested_bytes;
    const int owner = shared.owner;
    Region& region = space().allocate(RegionKind::kImported, owner, bytes, std::move(backing));
    // The current device may use it, no other: they open it themselves.
    region.readers.store(uint64_t{1} << device, std::memory_order_relaxed);
    region.writers.store(uint64_t{1} << device, std::memory_order_relaxed);
    *pointer = region.base;
    return Result::kSuccess;
  });
}

Result cuIpcCloseMemHandle(DevicePtr pointer) {
  return call("cuIpcCloseMemHandle", [&] {
    ContextObject& context = current_context();
    Region& region = space().starting_at(pointer, RegionKind::kImported);
    {
      Lock lock(engine().mutex());
      drain(lock, context);
    }
    space().free(region);
    if (!engine().is_running()) space().collect();
    return Result::kSuccess;
  });
}

Result cuIpcGetEventHandle(IpcEventHandle* handle, Event event) {
  return call("cuIpcGetEventHandle", [&] {
    const Lock lock(engine().mutex());
    require(state().events.contains(event), Result::kInvalidHandle, "not an event");
    require(event->backing != nullptr, Result::kInvalidValue,
            "the event was made without CU_EVENT_INTERPROCESS");
    *handle = handle_of<IpcEventHandle>(*event->backing);
    return Result::kSuccess;
  });
}

Result cuIpcOpenEventHandle(Event* event, IpcEventHandle handle) {
  return call("cuIpcOpenEventHandle", [&] {
    auto opened = std::make_unique<EventObject>();
    opened->context = &usable_context();
    opened->flags = kEventInterprocess | kEventDisableTiming;
    opened->backing = open_handle(handle, BackingKind::kEvent);
    opened->state = &opened->backing->shared();
    const Lock lock(engine().mutex());
    *event = opened.release();
    state().events.insert(*event);
    return Result::kSuccess;
  });
}

Result cuMulticastCreate(AllocationHandle* handle, const MulticastProperties* properties) {
  return call("cuMulticastCreate", [&] {
    require(machine().multicasts(), Result::kNotSupported, "no NVSwitch multicasts here");
    require(properties->device_count > 0 && properties->device_count <= machine().gpus().size(),
            Result::kInvalidValue, "so many devices are not there");
    require(properties->size > 0 && properties->size % kGranularity == 0, Result::kInvalidValue,
            "the size is not a multiple of the granularity");
    require((properties->handle_types & ~1ULL) == 0, Result::kNotSupported,
            "the simulator exports POSIX file descriptors only");
    auto object = create_multicast(properties->device_count, properties->size,
                                   static_cast<uint32_t>(properties->handle_types));
    const Lock lock(engine().mutex());
    *handle = add_allocation(std::move(object), {});
    return Result::kSuccess;
  });
}

namespace {

std::shared_ptr<Backing> multicast_of(AllocationHandle handle) {
  const Lock lock(engine().mutex());
  std::shared_ptr<Backing> object = allocation_of(handle).backing;
  require(object->shared().kind == BackingKind::kMulticast, Result::kInvalidValue,
          "not a multicast object");
  return object;
}

void check_bind(uint64_t offset, uint64_t memory_offset, uint64_t bytes, unsigned long long flags) {
  require(flags == 0, Result::kInvalidValue, "flags must be 0");
  require(offset % kGranularity == 0 && memory_offset % kGranularity == 0 &&
              bytes % kGranularity == 0 && bytes > 0,
          Result::kInvalidValue, "offsets and size must be multiples of the granularity");
}

}  // namespace

Result cuMulticastAddDevice(AllocationHandle handle, Device device) {
  return call("cuMulticastAddDevice", [&] {
    const Gpu& gpu = machine().gpus()[check_device(device)];
    require(gpu.capability >= 90, Result::kNotSupported, "the device can't multicast");
    add_device(*multicast_of(handle), device);
    return Result::kSuccess;
  });
}

Result cuMulticastBindMem(AllocationHandle multicast, size_t offset, AllocationHandle memory,
                          size_t memory_offset, size_t bytes, unsigned long long flags) {
  return call("cuMulticastBindMem", [&] {
    check_bind(offset, memory_offset, bytes, flags);
    const std::shared_ptr<Backing> object = multicast_of(multicast);
    wait_for_team(*object);
    std::shared_ptr<Backing> bound;
    {
      const Lock lock(engine().mutex());
      bound = allocation_of(memory).backing;
    }
    bind_memory(*object, offset, bound, memory_offset, bytes);
    return Result::kSuccess;
  });
}

Result cuMulticastBindAddr(AllocationHandle multicast, size_t offset, DevicePtr pointer,
                           size_t bytes, unsigned long long flags) {
  return call("cuMulticastBindAddr", [&] {
    const Region& region = space().live(pointer, bytes);
    require(region.kind == RegionKind::kMapped, Result::kInvalidValue, "not mapped by cuMemMap");
    const uint64_t memory_offset = region.backing_offset + (pointer - region.base);
    check_bind(offset, memory_offset, bytes, flags);
    const std::shared_ptr<Backing> object = multicast_of(multicast);
    wait_for_team(*object);
    bind_memory(*object, offset, region.backing, memory_offset, bytes);
    return Result::kSuccess;
  });
}

Result cuMulticastUnbind(AllocationHandle multicast, Device device, size_t offset, size_t bytes) {
  return call("cuMulticastUnbind", [&] {
    unbind_memory(*multicast_of(multicast), check_device(device), offset, bytes);
    return Result::kSuccess;
  });
}

Result cuMulticastGetGranularity(size_t* bytes, const MulticastProperties*, Granularity) {
  return call("cuMulticastGetGranularity", [&] {
    *bytes = kGranularity;
    return Result::kSuccess;
  });
}

}  // namespace tutti::cuda
