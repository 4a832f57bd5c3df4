// SPDX-License-Identifier: Apache-2.0
// Whether words that threads synchronise by are accessed with a scope that has all of them.
//
// A word's memory remembers who accessed it last: the device, the block, and the narrowest scope.
// An access by another device is an error unless both are of system scope, one by another block of
// the same device unless both are at least of GPU scope.
#include <spdlog/fmt/fmt.h>

#include "tests/cudasim/src/machine.h"
#include "tests/cudasim/src/scheduler.h"

namespace cudasim {
namespace {

// One atomic word, so that processes never see half of one.
struct Mark {
  uint32_t word;    // of the region's memory: offset / 4, plus one
  uint32_t device;  // 10 bits
  uint32_t block;   // 20 bits: who, within the device
  Scope scope;      // 2 bits

  uint64_t packed() const {
    return uint64_t{word} << 32 | (device & 0x3ff) << 22 | (block & 0xfffff) << 2 |
           static_cast<uint32_t>(scope);
  }
  static Mark of(uint64_t bits) {
    return {static_cast<uint32_t>(bits >> 32), static_cast<uint32_t>(bits >> 22 & 0x3ff),
            static_cast<uint32_t>(bits >> 2 & 0xfffff), static_cast<Scope>(bits & 3)};
  }
};

const char* name_of(Scope scope) {
  constexpr const char* kNames[] = {"block", "gpu", "system"};
  return kNames[static_cast<uint32_t>(scope)];
}

[[noreturn]] void fail(const Mark& own, const Mark& other, uint64_t address, const Region& region) {
  const bool devices = own.device != other.device;
  scheduler().fail(
      Result::kIllegalAddress,
      fmt::format("accesses 0x{:x} with {} scope: scope too narrow: {} accessed it with {} scope, "
                  "{} is needed by both; it is in {}",
                  address, name_of(own.scope),
                  devices ? fmt::format("device {}", other.device) : "another block",
                  name_of(other.scope), devices ? "system" : "gpu", space().describe(region)));
}

}  // namespace

void check_scope(Lane& lane, const Region& region, uint64_t address, Scope scope) {
  if (region.is_host()) {
    if (scope == Scope::kSystem) return;
    scheduler().fail(Result::kIllegalAddress,
                     fmt::format("accesses 0x{:x} with {} scope: scope too narrow: memory that the "
                                 "host sees needs system scope; it is in {}",
                                 address, name_of(scope), space().describe(region)));
  }
  const uint64_t offset = region.backing_offset + (address - region.base);
  const Block& block = *lane.owner->block;
  Mark own{static_cast<uint32_t>(offset / 4) + 1, static_cast<uint32_t>(block.grid->device()),
           static_cast<uint32_t>(block.serial), scope};
  std::atomic<uint64_t>& slot = region.shared()->words[offset / 4 % Shared::kWords];
  // relaxed: a mark is one word, and a lost one only hides a mistake.
  const Mark other = Mark::of(slot.load(std::memory_order_relaxed));
  if (other.word == own.word) {
    const Scope narrowest = std::min(own.scope, other.scope);
    if (other.device != own.device && narrowest != Scope::kSystem)
      fail(own, other, address, region);
    if (other.device == own.device && other.block != own.block && narrowest == Scope::kBlock)
      fail(own, other, address, region);
    if (other.device == own.device && other.block == own.block) own.scope = narrowest;
  }
  slot.store(own.packed(), std::memory_order_relaxed);
}

}  // namespace cudasim
