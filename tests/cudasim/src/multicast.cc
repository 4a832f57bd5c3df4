// SPDX-License-Identifier: Apache-2.0
#include "tests/cudasim/src/multicast.h"

#include <algorithm>
#include <map>
#include <mutex>
#include <tuple>
#include <vector>

#include <spdlog/fmt/fmt.h>
#include <sys/mman.h>

namespace cudasim {
namespace {

constexpr uint32_t kFree = 0;
constexpr uint32_t kUsed = 1;

// What this process has bound: other processes open it by this process's descriptors.
struct Kept {
  std::mutex mutex;
  std::map<uint64_t, std::vector<std::shared_ptr<Backing>>> by_object;  // by the object's inode
};
Kept& kept() {
  static Kept* const kKept = new Kept();
  return *kKept;
}

// Memory of bindings as the engine has mapped it, by the inode and place. Never unmapped: an object
// lives as long as its job.
uint8_t* mapped(const Shared::Binding& binding) {
  static auto* const kMapped = new std::map<std::tuple<uint64_t, uint64_t, uint64_t>, uint8_t*>();
  uint8_t*& at = (*kMapped)[{binding.memory.inode, binding.memory_offset, binding.bytes}];
  if (at != nullptr) return at;
  const std::shared_ptr<Backing> backing = Backing::open(binding.memory);
  void* const map = mmap(nullptr, binding.bytes, PROT_READ | PROT_WRITE, MAP_SHARED, backing->fd(),
                         static_cast<off_t>(binding.memory_offset));
  if (map == MAP_FAILED) throw Failure(Result::kMapFailed, "mmap of bound memory");
  return at = static_cast<uint8_t*>(map);
}

const Shared::Binding* binding_at(const Shared& object, int device, uint64_t offset,
                                  uint64_t bytes) {
  const uint32_t end =
      object.binding_end.load(std::memory_order_acquire);  // pairs with bind_memory()
  for (uint32_t i = 0; i < end; ++i) {
    const Shared::Binding& binding = object.bindings[i];
    // acquire: pairs with the release of bind_memory().
    if (binding.state.load(std::memory_order_acquire) != kUsed) continue;
    if (binding.device == device && offset >= binding.offset &&
        offset + bytes <= binding.offset + binding.bytes)
      return &binding;
  }
  return nullptr;
}

}  // namespace

std::shared_ptr<Backing> create_multicast(uint32_t devices, uint64_t bytes, uint32_t handle_types) {
  // One page of data: the object itself holds nothing.
  std::shared_ptr<Backing> object =
      Backing::create(BackingKind::kMulticast, 0, kPage, handle_types);
  object->shared().device_count = devices;
  object->shared().requested_bytes = bytes;
  return object;
}

void add_device(Backing& multicast, int device) {
  Shared& object = multicast.shared();
  const PidLock lock(object.lock);
  const uint32_t added = object.added.load(std::memory_order_relaxed);
  for (uint32_t i = 0; i < added; ++i)
    if (object.devices[i].load(std::memory_order_relaxed) == device + 1)
      throw Failure(Result::kInvalidValue, "the device is in the team already");
  if (added == object.device_count)
    throw Failure(Result::kInvalidValue, "the team has all its devices");
  object.devices[added].store(device + 1, std::memory_order_relaxed);
  object.added.store(added + 1, std::memory_order_release);  // pairs with is_complete
}

bool is_complete(const Backing& multicast) {
  const Shared& object = multicast.shared();
  return object.added.load(std::memory_order_acquire) == object.device_count;
}

void bind_memory(Backing& multicast, uint64_t offset, const std::shared_ptr<Backing>& memory,
                 uint64_t memory_offset, uint64_t bytes) {
  Shared& object = multicast.shared();
  const int device = memory->shared().owner;
  const PidLock lock(object.lock);
  const uint32_t added = object.added.load(std::memory_order_relaxed);
  const bool member = std::any_of(
      object.devices.begin(), object.devices.begin() + added,
      [device](const auto& d) { return d.load(std::memory_order_relaxed) == device + 1; });
  if (!member) throw Failure(Result::kInvalidDevice, "the memory's device is not in the team");
  if (offset + bytes > object.requested_bytes || memory_offset + bytes > memory->data_bytes())
    throw Failure(Result::kInvalidValue, "the range is beyond the object's or the memory's end");
  for (const Shared::Binding& other : object.bindings)
    if (other.state.load(std::memory_order_relaxed) == kUsed && other.device == device &&
        offset < other.offset + other.bytes && other.offset < offset + bytes)
      throw Failure(Result::kInvalidValue, "the device has bound memory there already");
  const auto slot = std::ranges::find_if(object.bindings, [](const Shared::Binding& b) {
    return b.state.load(std::memory_order_relaxed) == kFree;
  });
  if (slot == object.bindings.end())
    throw Failure(Result::kOutOfMemory, "the object has too many bindings for the simulator");
  slot->device = device;
  slot->memory = memory->name();
  slot->memory_offset = memory_offset;
  slot->offset = offset;
  slot->bytes = bytes;
  slot->state.store(kUsed, std::memory_order_release);  // pairs with binding_at
  const auto end = static_cast<uint32_t>(slot - object.bindings.begin() + 1);
  if (end > object.binding_end.load(std::memory_order_relaxed))
    object.binding_end.store(end, std::memory_order_release);  // pairs with binding_at
  const std::lock_guard own(kept().mutex);
  kept().by_object[multicast.name().inode].push_back(memory);
}

void unbind_memory(Backing& multicast, int device, uint64_t offset, uint64_t bytes) {
  Shared& object = multicast.shared();
  const PidLock lock(object.lock);
  bool found = false;
  for (Shared::Binding& binding : object.bindings) {
    const bool inside =
        binding.offset >= offset && binding.offset + binding.bytes <= offset + bytes;
    if (binding.state.load(std::memory_order_relaxed) != kUsed || binding.device != device ||
        !inside)
      continue;
    const uint64_t inode = binding.memory.inode;
    binding.state.store(kFree, std::memory_order_relaxed);  // under the lock; readers may be late
    const std::lock_guard own(kept().mutex);
    std::erase_if(kept().by_object[multicast.name().inode],
                  [inode](const auto& memory) { return memory->name().inode == inode; });
    found = true;
  }
  if (!found) throw Failure(Result::kInvalidValue, "the device has bound nothing there");
}

Replicas replicas_of(const Region& region, uint64_t offset, uint32_t bytes, std::string* why) {
  const Shared& object = region.backing->shared();
  Replicas replicas;
  const uint32_t added = object.added.load(std::memory_order_acquire);
  for (uint32_t i = 0; i < added; ++i) {
    const int device = object.devices[i].load(std::memory_order_relaxed) - 1;
    const Shared::Binding* const binding = binding_at(object, device, offset, bytes);
    try {
      if (binding == nullptr)
        throw Failure(Result::kInvalidValue,
                      fmt::format("device {} has bound no memory at offset {} of {}", device,
                                  offset, space().describe(region)));
      replicas.host[replicas.count++] = mapped(*binding) + (offset - binding->offset);
    } catch (const Failure& failure) {
      *why = failure.what();
      replicas.count = 0;
      return replicas;
    }
  }
  return replicas;
}

}  // namespace cudasim
