// SPDX-License-Identifier: Apache-2.0
// Numbers regions, and keeps the control page's slots in step.
#include "src/transfer/regions.h"

#include <spdlog/fmt/fmt.h>

namespace tutti::transfer {

uint32_t Regions::add(std::byte* base, size_t bytes, uint64_t shared_id, uint64_t shared_offset) {
  uint32_t slot = fresh_slots_;
  if (!free_slots_.empty()) {
    slot = free_slots_.back();
    free_slots_.pop_back();
  } else if (fresh_slots_ == kRegionSlots) {
    throw Error(StatusCode::kInvalidUsage,
                fmt::format("the agent has {} regions, or had peers that ended while they wrote; "
                            "deregister some, or register larger ones",
                            kRegionSlots));
  } else {
    ++fresh_slots_;
  }
  const uint32_t id = ++last_id_;
  regions_[id] = {.region = {.entry = {.id = id,
                                       .slot = slot,
                                       .bytes = bytes,
                                       .address = reinterpret_cast<uintptr_t>(base),
                                       .shared_id = shared_id,
                                       .shared_offset = shared_offset},
                             .base = base}};
  // seq_cst as in control_page.h, though nobody can know the number yet.
  page_.regions[slot].region.store(id, std::memory_order_seq_cst);
  return id;
}

Region* Regions::find(uint32_t id) noexcept {
  const auto at = regions_.find(id);
  return at == regions_.end() || at->second.closed ? nullptr : &at->second.region;
}

void Regions::close(uint32_t id) noexcept {
  Held& held = regions_.at(id);
  held.closed = true;
  // seq_cst: before the look for writers, see control_page.h.
  page_.regions[held.region.entry.slot].region.store(0, std::memory_order_seq_cst);
}

bool Regions::has_writers(uint32_t id) const noexcept {
  const Held& held = regions_.at(id);
  // seq_cst: after close(), see control_page.h; and pairs with the release in ~Writing().
  return page_.regions[held.region.entry.slot].writers.load(std::memory_order_seq_cst) != 0;
}

void Regions::erase(uint32_t id) noexcept {
  const uint32_t slot = regions_.at(id).region.entry.slot;
  if (!has_writers(id)) free_slots_.push_back(slot);
  regions_.erase(id);
}

std::vector<RegionEntry> Regions::entries() const {
  std::vector<RegionEntry> entries;
  for (const auto& [id, held] : regions_) {
    if (!held.closed) entries.push_back(held.region.entry);
  }
  return entries;
}

std::string range_problem(const std::string& whose, uint32_t region, uint64_t bytes_of_region,
                          uint64_t offset, uint64_t bytes) {
  if (bytes_of_region == 0) {
    return fmt::format(
        "{} has no region {}: it was not registered when the blob was exported, or "
        "has been deregistered",
        whose, region);
  }
  if (offset <= bytes_of_region && bytes <= bytes_of_region - offset) return {};
  return fmt::format("{} bytes at offset {} leave region {} of {}, which has {} bytes", bytes,
                     offset, region, whose, bytes_of_region);
}

}  // namespace tutti::transfer
