// SPDX-License-Identifier: Apache-2.0
// Accounts every byte that a communicator holds and honours its cap.
#pragma once

#include <array>
#include <atomic>
#include <cstddef>
#include <cstdint>
#include <string>
#include <utility>

namespace tutti {

// What memory is for. Memory that a rank makes counts for it, once; memory of a peer that it maps
// counts for the peer, so that the sum over ranks is what their hosts spend. The uses after kHeld
// are such memory, and what ranks can't agree on: reported, but neither in the total nor under the
// cap.
enum class MemoryUse : uint8_t {
  kConnections,  // lines and staging slots of the sending ends
  kScratch,      // chunks between steps, and what pulled messages are read into
  kBoards,       // signals, notices, the journal
  kRecording,    // the flight recording
  kPrograms,     // compiled programs
  kObjects,      // the communicator itself, by number of ranks
  kHeld,
  kPeerConnections = kHeld,  // receiving ends
  kPeerWindows,
  kPeerBoards,
  kPaths,  // what a network's paths hold for themselves; they come and go on their own
};
inline constexpr size_t kMemoryUses = 10;
inline constexpr size_t kPageBytes = 4096;
// What mappings and large blocks really take.
constexpr size_t whole_pages(size_t bytes) noexcept {
  return (bytes + kPageBytes - 1) / kPageBytes * kPageBytes;
}
constexpr bool is_held(MemoryUse use) noexcept { return use < MemoryUse::kHeld; }

class MemoryBudget {
 public:
  explicit MemoryBudget(size_t cap_bytes = SIZE_MAX) : cap_bytes_(cap_bytes) {}
  // Throws SystemError naming the purpose, the bytes asked for, the bytes in use and the cap.
  void charge(MemoryUse use, size_t bytes, const std::string& purpose);
  void credit(MemoryUse use, size_t bytes) noexcept;
  size_t used_bytes() const noexcept;
  size_t used_bytes(MemoryUse use) const noexcept;
  size_t peak_bytes() const noexcept;
  size_t cap_bytes() const noexcept { return cap_bytes_; }
  bool capped() const noexcept { return cap_bytes_ != SIZE_MAX; }
  // What may still be charged.
  size_t room_bytes() const noexcept { return cap_bytes_ - used_bytes(); }

 private:
  void charge_held(size_t bytes, const std::string& purpose);
  std::atomic<size_t>& of(MemoryUse use) noexcept { return by_use_[static_cast<size_t>(use)]; }

  const size_t cap_bytes_;
  std::atomic<size_t> used_bytes_{0};  // relaxed: a statistic and a limit, it orders nothing
  std::atomic<size_t> peak_bytes_{0};  // relaxed: a statistic
  std::array<std::atomic<size_t>, kMemoryUses> by_use_{};  // relaxed: statistics
};

// Holds a charge for as long as it lives. The budget must outlive it.
class MemoryCharge {
 public:
  MemoryCharge() noexcept = default;
  MemoryCharge(MemoryBudget& budget, MemoryUse use, size_t bytes, const std::string& purpose)
      : budget_(&budget), use_(use), bytes_(bytes) {
    budget.charge(use, bytes, purpose);
  }
  MemoryCharge(MemoryCharge&& other) noexcept
      : budget_(std::exchange(other.budget_, nullptr)),
        use_(other.use_),
        bytes_(std::exchange(other.bytes_, 0)) {}
  MemoryCharge& operator=(MemoryCharge&& other) noexcept {
    if (this != &other) {
      reset();
      budget_ = std::exchange(other.budget_, nullptr);
      use_ = other.use_;
      bytes_ = std::exchange(other.bytes_, 0);
    }
    return *this;
  }
  ~MemoryCharge() { reset(); }
  void reset() noexcept {
    if (budget_ != nullptr) budget_->credit(use_, bytes_);
    budget_ = nullptr;
  }
  bool holds() const noexcept { return budget_ != nullptr; }
  // `bytes` of this charge as one of its own.
  MemoryCharge split(size_t bytes) noexcept {
    MemoryCharge part;
    part.budget_ = budget_;
    part.use_ = use_;
    part.bytes_ = bytes;
    bytes_ -= bytes;
    return part;
  }

 private:
  MemoryBudget* budget_ = nullptr;
  MemoryUse use_ = MemoryUse::kObjects;
  size_t bytes_ = 0;
};

}  // namespace tutti
