// SPDX-License-Identifier: Apache-2.0
// How a thread waits for memory that another thread or process writes: spin, then yield, then sleep on a futex.
#pragma once

#include <atomic>
#include <cstddef>
#include <cstdint>

#include "src/base/clock.h"

namespace tutti {

inline constexpr size_t kCacheLineBytes = 64;
inline constexpr size_t kFalseSharingBytes = 128;  // two lines: adjacent-line prefetch pairs them

// Where a sleeper waits and a writer rings. It lies in memory that both map (shared between processes or threads).
//
// Protocol (an asymmetric Dekker handshake, so that a writer pays one load of a line that rarely changes):
//   sleeper: epoch e = rings; sleepers = 1; process-wide barrier (membarrier); poll once more; futex_wait(rings, e)
//   writer:  publish data with a release store; if sleepers != 0 { rings += 1; futex_wake }
// Either the sleeper's last poll sees the data, or the writer sees the sleeper. Where membarrier is missing the
// sleep is cut to 1 ms, so a missed ring costs latency, never a hang.
struct alignas(kFalseSharingBytes) Doorbell {
  std::atomic<uint32_t> sleepers{0};  // number of threads asleep or about to be; written by sleepers only
  alignas(kCacheLineBytes) std::atomic<uint32_t> rings{0};  // futex word; changed by writers only
};
static_assert(sizeof(Doorbell) == kFalseSharingBytes);

// The slow half of ring(): changes the futex word and wakes every sleeper.
void ring_sleepers(Doorbell& bell) noexcept;

// Called by a writer after it has published something the bell's owner may wait for.
// Relaxed load: ordered against the sleeper's store by the sleeper's membarrier (see Doorbell).
inline void ring(Doorbell& bell) noexcept {
  if (bell.sleepers.load(std::memory_order_relaxed) != 0) [[unlikely]] ring_sleepers(bell);
}

// How long a wait stays in each phase. Rounds are calls of IdleStrategy::idle().
struct IdlePolicy {
  uint32_t spin_rounds = 2000;    // pause instructions, the core is ours
  uint32_t yield_rounds = 200;    // sched_yield, others want the core
  int64_t sleep_max_ns = 50 * kNsPerMs;  // upper bound of one futex sleep; liveness is looked at in between

  // For `ranks` busy threads on `cores` cores: no spinning worth the name when there are more ranks than cores.
  static IdlePolicy for_load(int ranks, int cores) noexcept;
};

// One wait's state. Use: while (!ready()) strategy.idle(bell);  then strategy.reset().
class IdleStrategy {
 public:
  explicit IdleStrategy(const IdlePolicy& policy) noexcept : policy_(policy) {}
  // Spins, yields or prepares to sleep. Returns true when the caller should look at the clock and at liveness:
  // every 1,024 spins, every yield after the first 16, every sleep.
  // The sleep happens in two calls: the first announces the sleeper and returns (the caller polls once more),
  // the second sleeps. `bell` may be null: then it naps on the clock for at most 200 us.
  bool idle(Doorbell* bell) noexcept;
  // Must be called when the wait ends, so that an announced sleeper is withdrawn.
  void reset() noexcept;
  ~IdleStrategy() { reset(); }
  IdleStrategy(const IdleStrategy&) = delete;
  IdleStrategy& operator=(const IdleStrategy&) = delete;

 private:
  IdlePolicy policy_;
  uint32_t rounds_ = 0;
  Doorbell* announced_ = nullptr;
  uint32_t seen_rings_ = 0;
};

// One pause instruction.
inline void cpu_relax() noexcept {
#if defined(__x86_64__)
  __builtin_ia32_pause();
#else
  asm volatile("yield" ::: "memory");
#endif
}

// Sleeps until *word != expected, a wake-up, or the deadline. Works across processes. Spurious returns are allowed.
void futex_wait(const std::atomic<uint32_t>& word, uint32_t expected, Deadline deadline) noexcept;
void futex_wake_all(const std::atomic<uint32_t>& word) noexcept;

// Sleeps for the given time; only for set-up code and tests.
void sleep_ns(int64_t duration_ns) noexcept;

}  // namespace tutti
