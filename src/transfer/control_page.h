// SPDX-License-Identifier: Apache-2.0
// Memory of an agent that agents of the same host map: its counters, and which of its regions are
// there. It is memory of tuttiMemAlloc's kind, and goes with the agent.
#pragma once

#include <array>
#include <atomic>
#include <cstddef>
#include <cstdint>

namespace tutti::transfer {

inline constexpr uint32_t kCounters = 256;  // TUTTI_TRANSFER_COUNTERS
inline constexpr uint32_t kRegionSlots = 1024;

// A neighbour that writes into a region's pages announces itself first and looks whether the region
// is still there second; the owner takes the region away first and looks for writers second. Both
// are seq_cst, so one of the two sees the other (Dekker).
struct RegionSlot {
  std::atomic<uint32_t> region{0};   // id of the region that is there; 0: none
  std::atomic<uint32_t> writers{0};  // threads of neighbours that are writing a piece
};

struct ControlPage {
  // 1: the agent is being destroyed; before its regions go. release pairs with Neighbour::status().
  std::atomic<uint32_t> leaving{0};
  uint32_t reserved = 0;
  // Only processes that the kernel lets map this page know it, so who says it may be read from: see
  // PullHead. Constant once the page has been passed on.
  uint64_t pull_token = 0;
  // Raised with release order after the bytes of an operation: pairs with Agent::counter().
  std::array<std::atomic<uint64_t>, kCounters> counters{};
  std::array<RegionSlot, kRegionSlots> regions{};
};
static_assert(std::atomic<uint64_t>::is_always_lock_free &&
              std::atomic<uint32_t>::is_always_lock_free);
static_assert(sizeof(RegionSlot) == 8 && offsetof(RegionSlot, writers) == 4);
static_assert(offsetof(ControlPage, regions) == 16 + size_t{8} * kCounters &&
              sizeof(ControlPage) == size_t{8} * (2 + kCounters + kRegionSlots));

// Writing into a region of a neighbour: begun() says whether it may.
class Writing {
 public:
  Writing(RegionSlot& slot, uint32_t region) noexcept : slot_(slot), region_(region) {
    slot_.writers.fetch_add(1, std::memory_order_seq_cst);
  }
  // release: what has been written comes before it; pairs with the owner's look for writers.
  ~Writing() { slot_.writers.fetch_sub(1, std::memory_order_release); }
  Writing(const Writing&) = delete;
  Writing& operator=(const Writing&) = delete;
  bool allowed() const noexcept { return slot_.region.load(std::memory_order_seq_cst) == region_; }

 private:
  RegionSlot& slot_;
  const uint32_t region_;
};

}  // namespace tutti::transfer
