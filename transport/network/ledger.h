// SPDX-License-Identifier: Apache-2.0
// The account of a session's sequenced frames: what has been sent and not yet acknowledged, so that
// it can be sent again by another path, and what has arrived, so that nothing counts twice.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <type_traits>
#include <vector>

#include "transport/network/carrier.h"

namespace tutti::transport::network {

struct SessionPath;

// Frames that may be under way at once. A receiver remembers that many after the last gap.
inline constexpr uint64_t kWindow = 1024;
// Kept free for what the session itself has to say (kAbandon ...), so that it never waits for user
// data.
inline constexpr uint64_t kWindowReserve = 32;

// All that one end has got: payload of kAbandon and kAbandoned.
struct Arrivals {
  uint64_t cumulative = 0;
  std::array<uint64_t, kWindow / 64> seen{};  // a bit per sequence modulo kWindow, of the next ones
  bool has(uint64_t sequence) const noexcept {
    return sequence <= cumulative ||
           (sequence - cumulative <= kWindow &&
            (seen[(sequence % kWindow) / 64] >> (sequence % 64) & 1) != 0);
  }
};
static_assert(sizeof(Arrivals) == 136 && std::is_trivially_copyable_v<Arrivals>);

struct Sent {
  OutgoingFrame frame;                 // with its sequence; payload valid until acknowledged
  std::unique_ptr<std::byte[]> owned;  // the payload, where nobody else keeps it
  SessionPath* path = nullptr;         // by which it went last; null: waits to be sent again
  bool acknowledged = false;
  SessionPath* reader = nullptr;  // the path that may still read the payload, until it is destroyed
  bool referenced = false;        // the payload lies in user memory
};

class Outbox {
 public:
  // Is there room for one more frame, of the user's or of the session's own?
  bool has_room(bool own) const noexcept {
    return next_ - first_ < kWindow - (own ? 0 : kWindowReserve);
  }
  // Numbers it. The reference is valid until the next push().
  Sent& push(Sent sent);
  void undo_push() noexcept { --next_; }   // no path had room
  Sent* find(uint64_t sequence) noexcept;  // null when it is done with or was never sent
  // Everything up to `cumulative`, and after cumulative + 1 those whose bit is set.
  void acknowledge(uint64_t cumulative, uint64_t bits) noexcept;
  void acknowledge(const Arrivals& arrivals) noexcept;
  void read(uint64_t sequence) noexcept;  // the path no longer reads the payload
  bool all_acknowledged() const noexcept { return first_ == next_; }
  uint64_t first() const noexcept { return first_; }
  uint64_t next() const noexcept { return next_; }
  // Calls f(Sent&) for all that are not done with, in order: not acknowledged, or still being read.
  template <typename F>
  void for_each(F f) {
    for (uint64_t s = first_; s != next_; ++s) {
      Sent& sent = at(s);
      if (!sent.acknowledged || sent.reader != nullptr) f(sent);
    }
    retire();  // f may have ended the reading of the first
  }

 private:
  Sent& at(uint64_t sequence) noexcept { return ring_[sequence & (ring_.size() - 1)]; }
  void retire() noexcept;

  std::vector<Sent> ring_ = std::vector<Sent>(16);  // a power of two; grows up to kWindow
  uint64_t first_ = 1;                              // the oldest that is not done with
  uint64_t next_ = 1;
};

class Inbox {
 public:
  // False: it has arrived before, or lies too far ahead to be true.
  bool is_new(uint64_t sequence) const noexcept;
  void mark(uint64_t sequence) noexcept;  // is_new()
  uint64_t cumulative() const noexcept { return arrivals_.cumulative; }
  // A bit per sequence after cumulative() + 1 that has arrived.
  uint64_t bits() const noexcept;
  const Arrivals& arrivals() const noexcept { return arrivals_; }

 private:
  Arrivals arrivals_;
};

}  // namespace tutti::transport::network
