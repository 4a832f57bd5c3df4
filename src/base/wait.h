// SPDX-License-Identifier: Apache-2.0
// How a thread waits for memory that another thread or process writes: spin, then yield, then sleep
// on a futex.
#pragma once

#include <atomic>
#include <cstddef>
#include <cstdint>

#include "src/base/clock.h"

namespace tutti {

inline constexpr size_t kCacheLineBytes = 64;
inline constexpr size_t kFalseSharingBytes = 128;  // two lines: adjacent-line prefetch pairs them

// Where a sleeper waits and a writer rings. It lies in memory that both map (shared between
// processes or threads).
//
// Protocol (an asymmetric Dekker handshake, so that a writer pays one load of a line that rarely
// changes):
//
//   sleeper                                      writer
//   e = rings                                    publish data with a release store
//   sleepers += 1                                if sleepers != 0:
//   barrier on every ringer (membarrier)           rings += 1
//   poll once more                                 futex_wake(rings)
//   futex_wait(rings, e)
//
// Either the sleeper's last poll sees the data, or the writer sees the sleeper. Where membarrier is
// missing the sleep is cut to 1 ms, so a missed ring costs latency, never a hang.
struct alignas(kFalseSharingBytes) Doorbell {
  // Threads asleep or about to be; changed by sleepers only. Relaxed: the sleeper's membarrier
  // orders it (pairs with ring).
  std::atomic<uint32_t> sleepers{0};
  // The futex word; changed by writers only. Release in ring_sleepers pairs with acquire in
  // IdleStrategy::idle.
  alignas(kCacheLineBytes) std::atomic<uint32_t> rings{0};
};
static_assert(sizeof(Doorbell) == kFalseSharingBytes);

// Makes this process's threads answer the sleepers' barriers. Every process that rings bells of
// others calls it first (SharedBell::allocate does); cheap when repeated.
void register_ringer() noexcept;
// The kernel has the barrier (membarrier) that lets sleepers sleep until they are rung; without it
// they look every millisecond. For reports.
bool sleepers_are_safe() noexcept;

// Every running thread of every registered process executes a full barrier before it returns. False
// where the system can't.
bool barrier_all_ringers() noexcept;

// The slow half of ring(): changes the futex word and wakes every sleeper.
void ring_sleepers(Doorbell& bell) noexcept;

// Called by a writer after it has published something the bell's owner may wait for.
// Relaxed load: ordered against the sleeper's store by the sleeper's membarrier (see Doorbell).
inline void ring(Doorbell& bell) noexcept {
  // For the compiler only: the publishing store before must not sink below this load.
  asm volatile("" ::: "memory");
  if (bell.sleepers.load(std::memory_order_relaxed) != 0) [[unlikely]]
    ring_sleepers(bell);
}

// How long a wait stays in each phase. Rounds are calls of IdleStrategy::idle().
// The defaults suit one rank per core: 300 pauses (about 10 us) are as fast as any number while the
// peer runs, and cost little when a stranger has taken its core (a 2-rank barrier on one core takes
// 7 us after 200 pauses, 59 us after 2,000). A yield on a free core is a slow pause.
struct IdlePolicy {
  uint32_t spin_rounds = 300;            // pause instructions, the core is ours
  uint32_t yield_rounds = 500;           // sched_yield, others want the core
  int64_t sleep_max_ns = 50 * kNsPerMs;  // of one futex sleep; liveness is looked at in between

  // For `ranks` busy threads on `cores` cores. With more ranks than cores a spinning rank keeps the
  // core from the one it waits for: 8 ranks on 2 cores pass a barrier in 7 us when they yield at
  // once, in 12 us after 20 spins, in 264 us after 2,000.
  static IdlePolicy for_load(int ranks, int cores) noexcept;
};

// One wait's state. Use: while (!ready()) strategy.idle(bell);  then strategy.reset().
class IdleStrategy {
 public:
  explicit IdleStrategy(const IdlePolicy& policy) noexcept : policy_(policy) {}
  // Spins, yields or prepares to sleep. Returns true when the caller should look at the clock and
  // at liveness: every 1,024 spins, every yield after the first 16, every sleep. The sleep happens
  // in two calls: the first announces the sleeper and returns (the caller polls once more), the
  // second sleeps. From then on every call sleeps until reset(). `bell` may be null: then it naps
  // on the clock for at most 200 us.
  bool idle(Doorbell* bell) noexcept;
  // Must be called when the wait ends, so that an announced sleeper is withdrawn.
  void reset() noexcept;
  ~IdleStrategy() { reset(); }
  IdleStrategy(const IdleStrategy&) = delete;
  IdleStrategy& operator=(const IdleStrategy&) = delete;

 private:
  void announce(Doorbell& bell) noexcept;
  void withdraw() noexcept;

  IdlePolicy policy_;
  uint32_t rounds_ = 0;            // spins and yields since reset()
  Doorbell* announced_ = nullptr;  // the bell that counts us among its sleepers
  uint32_t seen_rings_ = 0;        // its `rings` before the caller's last poll
  int64_t sleep_limit_ns_ = 0;
};

// One pause instruction.
inline void cpu_relax() noexcept {
#if defined(__x86_64__)
  __builtin_ia32_pause();
#else
  asm volatile("yield" ::: "memory");
#endif
}

// Sleeps until *word != expected, a wake-up, or the deadline. Works across processes. Spurious
// returns are allowed.
void futex_wait(const std::atomic<uint32_t>& word, uint32_t expected, Deadline deadline) noexcept;
void futex_wake_all(const std::atomic<uint32_t>& word) noexcept;

// Lets another thread have the core.
void yield_core() noexcept;

// Sleeps for the given time; only for set-up code and tests.
void sleep_ns(int64_t duration_ns) noexcept;

}  // namespace tutti
