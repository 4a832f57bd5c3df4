// SPDX-License-Identifier: Apache-2.0
#include "tests/cudasim/src/space.h"

#include <unistd.h>

#include <cstdio>
#include <cstdlib>

#include <spdlog/fmt/fmt.h>
#include <sys/mman.h>

#include "tests/cudasim/src/config.h"
#include "tests/cudasim/src/machine.h"

namespace cudasim {
namespace {

void reserve_window() {
  void* const at = mmap(reinterpret_cast<void*>(kWindow), 2 * kWindowBytes, PROT_NONE,
                        MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE | MAP_FIXED_NOREPLACE, -1, 0);
  if (at != reinterpret_cast<void*>(kWindow))
    throw Failure(Result::kOperatingSystem, "the window of device addresses is taken");
}

const char* name_of(RegionKind kind) {
  switch (kind) {
    case RegionKind::kDevice:
      return "cuMemAlloc";
    case RegionKind::kMapped:
      return "cuMemMap";
    case RegionKind::kImported:
      return "cuIpcOpenMemHandle";
    case RegionKind::kManaged:
      return "cuMemAllocManaged";
    case RegionKind::kHost:
      return "cuMemHostAlloc";
    case RegionKind::kRegistered:
      return "cuMemHostRegister";
    case RegionKind::kMulticast:
      return "cuMemMap of a multicast object";
  }
  return "?";
}

}  // namespace

Space::Space() {
  reserve_window();
  for (const Gpu& gpu : machine().gpus()) peers_.push_back(uint64_t{1} << gpu.index);
  // Processes differ in their addresses, so that a pointer of another one is recognised.
  Random random(config().seed ^ static_cast<uint64_t>(getpid()) << 20);
  cursor_ = kWindow + random.below(1 << 16) * kGranularity;
}

uint64_t Space::take(uint64_t bytes, uint64_t alignment) {
  const uint64_t at = round_up(cursor_, alignment);
  if (at + bytes + kGranularity > kWindow + kWindowBytes)
    throw Failure(Result::kOutOfMemory, "the window of device addresses is used up");
  cursor_ = round_up(at + bytes, kPage) + 16 * kPage;  // a gap that belongs to nobody
  return at;
}

Region& Space::insert(std::unique_ptr<Region> region) {
  // What was at these addresses and is freed gives way.
  auto at = regions_.upper_bound(region->base);
  if (at != regions_.begin()) --at;
  while (at != regions_.end() && at->first < region->base + region->bytes) {
    const Region& old = *at->second;
    const bool meets = old.base + old.bytes > region->base;
    at = meets && old.freed.load(std::memory_order_relaxed) ? regions_.erase(at) : std::next(at);
  }
  if (region->id == 0) region->id = all_.size() + 1;
  all_.push_back(std::move(region));
  Region& kept = *all_.back();
  regions_[kept.base] = &kept;
  changed();
  return kept;
}

Region& Space::allocate(RegionKind kind, int owner, uint64_t bytes,
                        std::shared_ptr<Backing> backing) {
  const std::lock_guard lock(mutex_);
  auto region = std::make_unique<Region>();
  region->base = take(bytes, bytes >= kGranularity ? kGranularity : 64 << 10);
  region->bytes = bytes;
  region->host = reinterpret_cast<uint8_t*>(region->base + kShadow);
  backing->map(region->base + kShadow, backing->data_bytes(), 0);
  region->kind = kind;
  region->owner = owner;
  const uint64_t gpus = owner < 0 ? ~uint64_t{0} : peers_[owner];
  region->readers.store(gpus, std::memory_order_relaxed);
  region->writers.store(gpus, std::memory_order_relaxed);
  region->backing = std::move(backing);
  return insert(std::move(region));
}

uint64_t Space::reserve(uint64_t bytes, uint64_t alignment) {
  const std::lock_guard lock(mutex_);
  const uint64_t at = take(bytes, std::max(alignment, kGranularity));
  reserved_[at] = bytes;
  return at;
}

void Space::unreserve(uint64_t address, uint64_t bytes) {
  const std::lock_guard lock(mutex_);
  const auto at = reserved_.find(address);
  if (at == reserved_.end() || at->second != bytes)
    throw Failure(Result::kInvalidValue, "no address range was reserved just so");
  reserved_.erase(at);
}

Region& Space::map(uint64_t address, uint64_t bytes, uint64_t offset, uint64_t handle,
                   std::shared_ptr<Backing> backing) {
  for (const Region* const other : in_range(address, bytes))
    if (!other->freed.load(std::memory_order_relaxed))
      throw Failure(Result::kAlreadyMapped, "something is mapped there");
  collect();  // an old mapping of these addresses must not be taken away later
  const std::lock_guard lock(mutex_);
  auto range = reserved_.upper_bound(address);
  if (range == reserved_.begin())
    throw Failure(Result::kInvalidValue, "the address was not reserved");
  --range;
  if (address + bytes > range->first + range->second)
    throw Failure(Result::kInvalidValue, "the address range was not reserved");
  auto region = std::make_unique<Region>();
  region->base = address;
  region->bytes = bytes;
  const bool multicast = backing->shared().kind == BackingKind::kMulticast;
  if (!multicast) {
    region->host = reinterpret_cast<uint8_t*>(address + kShadow);
    backing->map(address + kShadow, bytes, offset);
  }
  region->kind = multicast ? RegionKind::kMulticast : RegionKind::kMapped;
  region->owner = backing->shared().owner;
  if (multicast) region->owner = 0;
  region->backing = std::move(backing);
  region->backing_offset = offset;
  region->allocation_handle = handle;
  return insert(std::move(region));
}

Region& Space::add_host(RegionKind kind, void* at, uint64_t bytes, unsigned flags) {
  const auto address = reinterpret_cast<uint64_t>(at);
  for (const Region* const other : in_range(address, bytes))
    if (!other->freed.load(std::memory_order_relaxed))
      throw Failure(Result::kHostMemoryAlreadyRegistered, "part of the range is registered");
  const std::lock_guard lock(mutex_);
  auto region = std::make_unique<Region>();
  region->base = address;
  region->bytes = bytes;
  region->host = static_cast<uint8_t*>(at);
  region->kind = kind;
  region->flags = flags;
  region->readers.store(~uint64_t{0}, std::memory_order_relaxed);
  const bool read_only =
      kind == RegionKind::kRegistered && (flags & abi::kHostRegisterReadOnly) != 0;
  region->writers.store(read_only ? 0 : ~uint64_t{0}, std::memory_order_relaxed);
  return insert(std::move(region));
}

void Space::free(Region& region) {
  const std::lock_guard lock(mutex_);
  region.freed.store(true, std::memory_order_relaxed);
  retired_.push_back(&region);
  changed();
}

void Space::collect() {
  const std::lock_guard lock(mutex_);
  for (Region* const region : retired_) {
    const bool own = region->kind == RegionKind::kHost || region->kind == RegionKind::kManaged;
    const uint64_t bytes = round_up(region->bytes, kPage);
    if (own) {
      munmap(region->host, bytes);
    } else if (region->host != nullptr && region->kind != RegionKind::kRegistered) {
      const void* const at = mmap(region->host, bytes, PROT_NONE,
                                  MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE | MAP_FIXED, -1, 0);
      if (at == MAP_FAILED) throw Failure(Result::kOperatingSystem, "mmap");
    }
    region->backing.reset();
  }
  retired_.clear();
}

Region* Space::find(uint64_t address) {
  const std::lock_guard lock(mutex_);
  auto at = regions_.upper_bound(address);
  if (at == regions_.begin()) return nullptr;
  Region* const region = (--at)->second;
  return address - region->base < region->bytes ? region : nullptr;
}

Region& Space::live(uint64_t address, uint64_t bytes) {
  Region* const region = find(address);
  if (region == nullptr)
    throw Failure(Result::kInvalidValue,
                  fmt::format("0x{:x} is in no allocation; {}", address, describe_around(address)));
  if (region->freed.load(std::memory_order_relaxed))
    throw Failure(Result::kInvalidValue,
                  fmt::format("0x{:x} was freed: {}", address, describe(*region)));
  if (!region->contains(address, bytes))
    throw Failure(Result::kInvalidValue, fmt::format("{} bytes at 0x{:x} are too many for {}",
                                                     bytes, address, describe(*region)));
  return *region;
}

Region& Space::starting_at(uint64_t address, RegionKind kind) {
  Region& region = live(address);
  if (region.base != address || region.kind != kind)
    throw Failure(Result::kInvalidValue,
                  fmt::format("0x{:x} is not the start of memory by {}", address, name_of(kind)));
  return region;
}

std::vector<Region*> Space::in_range(uint64_t address, uint64_t bytes) {
  const std::lock_guard lock(mutex_);
  std::vector<Region*> found;
  auto at = regions_.upper_bound(address);
  if (at != regions_.begin()) --at;
  for (; at != regions_.end() && at->first < address + bytes; ++at)
    if (at->second->base + at->second->bytes > address) found.push_back(at->second);
  return found;
}

std::string Space::describe(const Region& region) const {
  std::string owner = region.owner < 0 ? "the host" : fmt::format("device {}", region.owner);
  if (region.kind == RegionKind::kMulticast) owner = "a team of devices";
  return fmt::format("{} bytes at 0x{:x} of {} by {} (allocation {}{})", region.bytes, region.base,
                     owner, name_of(region.kind), region.id,
                     region.freed.load(std::memory_order_relaxed) ? ", freed" : "");
}

std::string Space::describe_around(uint64_t address) {
  const Region* below = nullptr;
  {
    const std::lock_guard lock(mutex_);
    auto at = regions_.upper_bound(address);
    if (at != regions_.begin()) below = std::prev(at)->second;
  }
  const bool in_window = address - kWindow < kWindowBytes;
  if (!in_window && (below == nullptr || address - below->base > 2 * below->bytes + kGranularity))
    return "it is a host address that was neither allocated nor registered with the driver";
  if (below == nullptr) return "nothing was allocated below it";
  return fmt::format("it is {} bytes behind the end of {}", address - (below->base + below->bytes),
                     describe(*below));
}

uint64_t Space::used_bytes(int owner) {
  const std::lock_guard lock(mutex_);
  uint64_t sum = 0;
  for (const auto& [base, region] : regions_) {
    const bool counts = region->kind == RegionKind::kDevice || region->kind == RegionKind::kMapped;
    if (counts && region->owner == owner && !region->freed.load(std::memory_order_relaxed))
      sum += region->bytes;
  }
  return sum;
}

void Space::set_peers(int owner, uint64_t gpus) {
  const std::lock_guard lock(mutex_);
  peers_[owner] = gpus;
  for (const auto& [base, region] : regions_) {
    const bool follows = region->kind == RegionKind::kDevice;
    if (!follows || region->owner != owner) continue;
    region->readers.store(gpus, std::memory_order_relaxed);
    region->writers.store(gpus, std::memory_order_relaxed);
  }
  changed();
}

uint64_t Space::peers(int owner) {
  const std::lock_guard lock(mutex_);
  return peers_[owner];
}

Space& space() {
  static Space* const kSpace = new Space();  // outlives the engine's thread
  return *kSpace;
}

}  // namespace cudasim
