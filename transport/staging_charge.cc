// SPDX-License-Identifier: Apache-2.0
// Gives staging slots back to the system and takes them again.
#include "transport/staging_charge.h"

#include <sys/mman.h>

namespace tutti::transport {

StagingCharge::StagingCharge(MemoryBudget& budget, const FifoLayout& layout, int to_rank)
    : budget_(&budget), slot_bytes_(layout.staging_bytes()), to_rank_(to_rank) {
  MemoryCharge whole(budget, MemoryUse::kConnections, layout.total_bytes(), purpose());
  slots_ = whole.split(slot_bytes_);
  lines_ = std::move(whole);
}

size_t StagingCharge::rest(std::byte* slots, int advice) noexcept {
  if (!slots_.holds() || ::madvise(slots, slot_bytes_, advice) != 0) return 0;
  slots_.reset();
  return slot_bytes_;
}

void StagingCharge::resume() {
  if (!slots_.holds()) {
    slots_ = MemoryCharge(*budget_, MemoryUse::kConnections, slot_bytes_, purpose());
  }
}

}  // namespace tutti::transport
