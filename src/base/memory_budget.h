// SPDX-License-Identifier: Apache-2.0
// Accounts every byte that a communicator holds and honours its cap.
#pragma once

#include <atomic>
#include <cstddef>
#include <cstdint>
#include <string>
#include <utility>

namespace tutti {

class MemoryBudget {
 public:
  explicit MemoryBudget(size_t cap_bytes = SIZE_MAX) : cap_bytes_(cap_bytes) {}
  // Throws SystemError naming the purpose, the bytes asked for, the bytes in use and the cap.
  void charge(size_t bytes, const std::string& purpose);
  void credit(size_t bytes) noexcept;
  size_t used_bytes() const noexcept;
  size_t peak_bytes() const noexcept;
  size_t cap_bytes() const noexcept { return cap_bytes_; }

 private:
  const size_t cap_bytes_;
  std::atomic<size_t> used_bytes_{0};  // relaxed: a statistic and a limit, it orders nothing
  std::atomic<size_t> peak_bytes_{0};  // relaxed: a statistic
};

// Holds a charge for as long as it lives. The budget must outlive it.
class MemoryCharge {
 public:
  MemoryCharge() noexcept = default;
  MemoryCharge(MemoryBudget& budget, size_t bytes, const std::string& purpose)
      : budget_(&budget), bytes_(bytes) {
    budget.charge(bytes, purpose);
  }
  MemoryCharge(MemoryCharge&& other) noexcept
      : budget_(std::exchange(other.budget_, nullptr)), bytes_(std::exchange(other.bytes_, 0)) {}
  MemoryCharge& operator=(MemoryCharge&& other) noexcept {
    if (this != &other) {
      reset();
      budget_ = std::exchange(other.budget_, nullptr);
      bytes_ = std::exchange(other.bytes_, 0);
    }
    return *this;
  }
  ~MemoryCharge() { reset(); }
  void reset() noexcept {
    if (budget_ != nullptr) budget_->credit(bytes_);
    budget_ = nullptr;
  }

 private:
  MemoryBudget* budget_ = nullptr;
  size_t bytes_ = 0;
};

}  // namespace tutti
