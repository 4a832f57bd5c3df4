// SPDX-License-Identifier: Apache-2.0
// Tickets: the works of one communicator run in the order in which they were issued, one at a time.
#pragma once

#include <atomic>
#include <cstdint>

#include "src/base/wait.h"

namespace tutti::comm {

// Holding the turn means owning the communicator's progress: connections, programs, counters.
// Taking a ticket and leaving are one uncontended read-modify-write each; having the turn is a
// load.
class IssueOrder {
 public:
  // relaxed: a number, it orders nothing.
  uint64_t take() noexcept { return issued_.fetch_add(1, std::memory_order_relaxed); }

  // A ticket that has its turn at once; false when somebody is in front.
  bool try_take(uint64_t* ticket) noexcept {
    // acquire: pairs with leave(). Where all have left nobody is in front: all have been served,
    // or the communicator is broken and they have given up.
    uint64_t next = left_.load(std::memory_order_acquire);
    *ticket = next;
    return issued_.compare_exchange_strong(next, next + 1, std::memory_order_relaxed);
  }
  bool is_turn(uint64_t ticket) const noexcept {
    return served_.load(std::memory_order_acquire) == ticket;  // pairs with leave()
  }
  // Ends the work with this ticket and wakes those that wait for their turn on `bell`; the last
  // touch of the communicator. Only on a broken communicator may a work leave before its turn.
  void leave(uint64_t ticket, Doorbell& bell) noexcept {
    if (is_turn(ticket)) return leave_turn(ticket, bell);
    ring(bell);
    left_.fetch_add(1, std::memory_order_release);  // pairs with drained()
  }
  // The same for one that has its turn, or got it by try_take(): then all before it have left.
  void leave_turn(uint64_t ticket, Doorbell& bell) noexcept {
    served_.store(ticket + 1, std::memory_order_release);  // pairs with is_turn()
    ring(bell);
    left_.fetch_add(1, std::memory_order_release);  // pairs with drained()
  }
  // Every ticket taken so far has left.
  bool drained() const noexcept {
    // acquire: pairs with leave(). issued_ is read last, so that a ticket taken in between counts
    // as not drained.
    const uint64_t left = left_.load(std::memory_order_acquire);
    return left == issued_.load(std::memory_order_relaxed);
  }

 private:
  std::atomic<uint64_t> issued_{0};
  std::atomic<uint64_t> served_{0};
  std::atomic<uint64_t> left_{0};
};

}  // namespace tutti::comm
