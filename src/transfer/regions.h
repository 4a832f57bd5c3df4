// SPDX-License-Identifier: Apache-2.0
// The memory that an agent has registered. Under the agent's lock.
#pragma once

#include <cstddef>
#include <cstdint>
#include <map>
#include <vector>

#include "src/base/error.h"
#include "src/transfer/blob.h"
#include "src/transfer/control_page.h"

namespace tutti::transfer {

struct Region {
  RegionEntry entry;
  std::byte* base = nullptr;
  int pulling = 0;  // threads of this process that are reading a piece into it

  // The place of a range, null when it leaves the region.
  std::byte* at(uint64_t offset, uint64_t bytes) const noexcept {
    const bool inside = offset <= entry.bytes && bytes <= entry.bytes - offset;
    return inside ? base + offset : nullptr;
  }
};

class Regions {
 public:
  explicit Regions(ControlPage& page) noexcept : page_(page) {}
  // Throws InvalidUsage when there are kRegionSlots already.
  uint32_t add(std::byte* base, size_t bytes, uint64_t shared_id, uint64_t shared_offset);
  Region* find(uint32_t id) noexcept;  // null: not registered, or not any more
  // From now on nobody begins to use it.
  void close(uint32_t id) noexcept;
  // Around a piece that a thread of this process reads into the region.
  void end_pulling(uint32_t id) noexcept {
    if (const auto at = regions_.find(id); at != regions_.end()) --at->second.region.pulling;
  }
  bool is_pulling(uint32_t id) const noexcept { return regions_.at(id).region.pulling != 0; }
  // After close(): a neighbour's thread still writes to its pages.
  bool has_writers(uint32_t id) const noexcept;
  // After close(). A slot that somebody may still count down is not used again.
  void erase(uint32_t id) noexcept;
  std::vector<RegionEntry> entries() const;

 private:
  struct Held {
    Region region;
    bool closed = false;
  };
  ControlPage& page_;
  std::map<uint32_t, Held> regions_;
  std::vector<uint32_t> free_slots_;
  uint32_t fresh_slots_ = 0;  // slots from here on have never been used
  uint32_t last_id_ = 0;
};

// What is wrong with a range of an agent's region, in words; "" when nothing is. `whose` names the
// agent, `bytes_of_region` 0: there is no such region.
std::string range_problem(const std::string& whose, uint32_t region, uint64_t bytes_of_region,
                          uint64_t offset, uint64_t bytes);

}  // namespace tutti::transfer
