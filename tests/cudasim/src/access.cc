// SPDX-License-Identifier: Apache-2.0
// What a GPU thread may touch, and where that is.
#include <array>

#include <spdlog/fmt/fmt.h>

#include "tests/cudasim/src/multicast.h"
#include "tests/cudasim/src/scheduler.h"

namespace cudasim {
namespace {

// The regions that were used last, by address. Only the engine's thread uses it; whenever any
// region changes it is empty again.
class Lookup {
 public:
  Region* find(uint64_t address, uint32_t bytes) {
    // acquire: pairs with Space::changed.
    const uint64_t generation = space().generation().load(std::memory_order_acquire);
    if (generation != generation_) {
      slots_.fill(nullptr);
      generation_ = generation;
    }
    Region*& slot = slots_[address >> 16 & (kSlots - 1)];
    if (slot != nullptr && slot->contains(address, bytes)) return slot;
    Region* const region = space().find(address);
    if (region != nullptr && region->contains(address, bytes)) slot = region;
    return region;
  }

 private:
  static constexpr uint64_t kSlots = 256;
  std::array<Region*, kSlots> slots_{};
  uint64_t generation_ = 0;
};

Lookup& lookup() {
  static Lookup lookup;
  return lookup;
}

[[noreturn]] void fail(Result error, const char* verb, uint64_t address, uint32_t bytes,
                       const std::string& why) {
  scheduler().fail(error, fmt::format("{} {} bytes at 0x{:x}: {}", verb, bytes, address, why));
}

[[noreturn]] void fail_lookup(const Region* region, const char* verb, uint64_t address,
                              uint32_t bytes) {
  if (region == nullptr)
    fail(Result::kIllegalAddress, verb, address, bytes,
         "out of bounds: " + space().describe_around(address));
  fail(Result::kIllegalAddress, verb, address, bytes,
       fmt::format("out of bounds: they reach {} bytes beyond the end of {}",
                   address + bytes - region->base - region->bytes, space().describe(*region)));
}

void check_rights(const Lane& lane, const Region& region, const char* verb, uint64_t address,
                  uint32_t bytes, bool write) {
  if (region.freed.load(std::memory_order_relaxed))
    fail(Result::kIllegalAddress, verb, address, bytes,
         "use after free: " + space().describe(region));
  if (!config().strict) return;
  const int device = lane.owner->block->grid->device();
  const auto& rights = write ? region.writers : region.readers;
  if ((rights.load(std::memory_order_relaxed) >> device & 1) != 0) return;
  const bool reads = (region.readers.load(std::memory_order_relaxed) >> device & 1) != 0;
  const char* const why = reads                                ? "read-only memory: "
                          : region.kind == RegionKind::kDevice ? "no peer access was enabled: "
                                                               : "no access was given: ";
  fail(Result::kIllegalAddress, verb, address, bytes,
       why + space().describe(region) + fmt::format("; device {} may not access it", device));
}

bool is_shared(const Block& block, uint64_t address, uint32_t bytes) {
  const auto from = reinterpret_cast<uint64_t>(block.arena_base);
  return address - from < block.arena_used && bytes <= block.arena_used - (address - from);
}

// A loop that forgets to wait must not keep others from running.
constexpr uint32_t kMostAccesses = 100'000;

}  // namespace

Target check_access(Lane& lane, const void* pointer, uint32_t bytes, bool write) {
  const auto address = reinterpret_cast<uint64_t>(pointer);
  const char* const verb = write ? "writes" : "reads";
  if (++lane.accesses > kMostAccesses) {
    lane.did_something = true;
    scheduler().leave();
  }
  if ((address & (bytes - 1)) != 0)
    fail(Result::kMisalignedAddress, verb, address, bytes,
         fmt::format("the address is not a multiple of {}", bytes));
  Region* const region = lookup().find(address, bytes);
  if (region == nullptr || !region->contains(address, bytes)) {
    if (region == nullptr && is_shared(*lane.owner->block, address, bytes))
      return {const_cast<uint8_t*>(static_cast<const uint8_t*>(pointer)), nullptr};
    fail_lookup(region, verb, address, bytes);
  }
  check_rights(lane, *region, verb, address, bytes, write);
  if (region->kind == RegionKind::kMulticast)
    fail(Result::kIllegalAddress, verb, address, bytes,
         "multicast memory takes multimem accesses only: " + space().describe(*region));
  return {region->host + (address - region->base), region};
}

Replicas check_multimem(Lane& lane, const void* pointer, uint32_t bytes, bool write) {
  const auto address = reinterpret_cast<uint64_t>(pointer);
  const char* const verb = write ? "multicasts" : "reduces";
  if ((address & (bytes - 1)) != 0)
    fail(Result::kMisalignedAddress, verb, address, bytes,
         fmt::format("the address is not a multiple of {}", bytes));
  Region* const region = lookup().find(address, bytes);
  if (region == nullptr || !region->contains(address, bytes))
    fail_lookup(region, verb, address, bytes);
  check_rights(lane, *region, verb, address, bytes, write);
  if (region->kind != RegionKind::kMulticast)
    fail(Result::kIllegalAddress, verb, address, bytes,
         "no multicast memory: " + space().describe(*region));
  std::string why;
  const Replicas replicas =
      replicas_of(*region, region->backing_offset + (address - region->base), bytes, &why);
  if (replicas.count == 0) fail(Result::kIllegalAddress, verb, address, bytes, why);
  return replicas;
}

}  // namespace cudasim
