// SPDX-License-Identifier: Apache-2.0
// Decides how bytes are stored into a peer's staging slots: through this core's caches, or past
// them.
//
// Lines that the peer has read belong to its caches too, so storing to them asks for them first. A
// peer close by (one last-level cache) answers in 50 ns, and then finds the bytes in our cache; one
// far away takes 300 ns for each of the two, and non-temporal stores, which ask for nothing, are
// twice as fast. Which it is depends on where the system runs the two threads, and changes while
// they run. So both ways are timed now and then, and the faster one is used in between.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>

#include "src/base/ticks.h"

namespace tutti::transport {

// One per sending end, used by its thread. Around filling a slot: begin(), store as it says, end().
class SlotStores {
 public:
  // Less than this is stored through the caches, and not timed: the stores' queue hides it.
  static constexpr size_t kMinBytes = 4096;

  // True: non-temporal stores.
  bool begin(size_t bytes) noexcept {
    if (bytes < kMinBytes) return false;
    timed_ = ++turn_ == next_timed_;
    past_ = timed_ ? try_past_ : prefers_past_;
    if (timed_) [[unlikely]]
      started_ = read_ticks(by_counter_);
    return past_;
  }
  void end(size_t bytes) noexcept {
    if (bytes < kMinBytes || !timed_) [[likely]]
      return;
    note(bytes);
  }

 private:
  // Slots from one that is timed to the next: few until there is something to judge by. Every other
  // one that is timed is filled in what may be the slower way, by which a message loses up to a
  // microsecond.
  static constexpr uint32_t kEveryAtFirst = 16;
  static constexpr uint32_t kEvery = 64;
  static constexpr uint32_t kFirstTimed = 32;  // before, slots may be touched for the first time
  static constexpr size_t kKept = 4;           // times of each way

  void note(size_t bytes) noexcept;

  uint32_t turn_ = 0;
  uint32_t next_timed_ = kFirstTimed;
  bool timed_ = false;
  bool try_past_ = false;  // the next one that is timed
  bool past_ = false;      // what begin() has said
  bool prefers_past_ = false;
  bool by_counter_ = counter_is_steady();
  uint64_t started_ = 0;
  static constexpr uint64_t kNone = UINT64_MAX;
  // Per kMinBytes, the latest first.
  std::array<uint64_t, kKept> cached_ticks_{kNone, kNone, kNone, kNone};
  std::array<uint64_t, kKept> past_ticks_{kNone, kNone, kNone, kNone};
};

}  // namespace tutti::transport
