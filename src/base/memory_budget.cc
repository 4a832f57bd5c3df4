// SPDX-License-Identifier: Apache-2.0
// The account of a communicator's memory.
#include "src/base/memory_budget.h"

#include "src/base/error.h"

namespace tutti {

void MemoryBudget::charge(MemoryUse use, size_t bytes, const std::string& purpose) {
  if (is_held(use)) charge_held(bytes, purpose);
  of(use).fetch_add(bytes, std::memory_order_relaxed);
}

void MemoryBudget::charge_held(size_t bytes, const std::string& purpose) {
  size_t used = used_bytes_.load(std::memory_order_relaxed);
  do {
    if (used > cap_bytes_ || bytes > cap_bytes_ - used) {
      throw Error(StatusCode::kSystemError,
                  "memory cap reached: " + purpose + " needs " + std::to_string(bytes) +
                      " bytes, " + std::to_string(used) + " of " + std::to_string(cap_bytes_) +
                      " are in use; raise config.memoryCapBytes (TUTTI_MEMORY_CAP) or lower "
                      "TUTTI_SLOT_BYTES or "
                      "TUTTI_SLOTS");
    }
  } while (!used_bytes_.compare_exchange_weak(used, used + bytes, std::memory_order_relaxed));
  size_t peak = peak_bytes_.load(std::memory_order_relaxed);
  while (peak < used + bytes &&
         !peak_bytes_.compare_exchange_weak(peak, used + bytes, std::memory_order_relaxed)) {
  }
}

void MemoryBudget::credit(MemoryUse use, size_t bytes) noexcept {
  of(use).fetch_sub(bytes, std::memory_order_relaxed);
  if (is_held(use)) used_bytes_.fetch_sub(bytes, std::memory_order_relaxed);
}

size_t MemoryBudget::used_bytes() const noexcept {
  return used_bytes_.load(std::memory_order_relaxed);
}

size_t MemoryBudget::used_bytes(MemoryUse use) const noexcept {
  return by_use_[static_cast<size_t>(use)].load(std::memory_order_relaxed);
}

size_t MemoryBudget::peak_bytes() const noexcept {
  return peak_bytes_.load(std::memory_order_relaxed);
}

}  // namespace tutti
