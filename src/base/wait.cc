// SPDX-License-Identifier: Apache-2.0
// Futexes, the doorbell's slow half, and the idle strategy.
#include "src/base/wait.h"

#include <sched.h>
#include <time.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>

#include <linux/futex.h>
#include <linux/membarrier.h>
#include <sys/syscall.h>

namespace tutti {
namespace {

constexpr int64_t kUnbarrieredSleepNs = kNsPerMs;  // a missed ring costs at most this
constexpr int64_t kNapNs = 200 * kNsPerUs;
constexpr uint32_t kSpinsPerLook = 1024;
constexpr uint32_t kYieldsBeforeLook = 16;

static_assert(sizeof(std::atomic<uint32_t>) == sizeof(uint32_t) &&
              std::atomic<uint32_t>::is_always_lock_free);

timespec to_timespec(int64_t ns) noexcept {
  return {.tv_sec = ns / kNsPerSecond, .tv_nsec = ns % kNsPerSecond};
}

long futex(const std::atomic<uint32_t>& word, int operation, uint32_t value,
           const timespec* timeout) noexcept {
  return ::syscall(SYS_futex, &word, operation, value, timeout, nullptr, 0);
}

// Every running thread of every registered process executes a full barrier before this returns.
bool barrier_all_ringers() noexcept {
  return ::syscall(SYS_membarrier, MEMBARRIER_CMD_GLOBAL_EXPEDITED, 0, 0) == 0;
}

}  // namespace

void register_ringer() noexcept {
  // Relaxed: registering twice is harmless, and the flag publishes nothing.
  static std::atomic<pid_t> registered_pid{0};
  const pid_t self = ::getpid();
  if (registered_pid.load(std::memory_order_relaxed) == self) return;
  ::syscall(SYS_membarrier, MEMBARRIER_CMD_REGISTER_GLOBAL_EXPEDITED, 0, 0);
  registered_pid.store(self, std::memory_order_relaxed);
}

bool sleepers_are_safe() noexcept {
  register_ringer();
  return barrier_all_ringers();
}

void ring_sleepers(Doorbell& bell) noexcept {
  // Release: pairs with the acquire loads of `rings` in IdleStrategy, so that a sleeper that reads
  // the new value and polls again sees what was published before the ring.
  bell.rings.fetch_add(1, std::memory_order_release);
  futex_wake_all(bell.rings);
}

IdlePolicy IdlePolicy::for_load(int ranks, int cores) noexcept {
  if (ranks <= cores) return {};
  return {.spin_rounds = 0, .yield_rounds = 100};
}

bool IdleStrategy::idle(Doorbell* bell) noexcept {
  if (rounds_ < policy_.spin_rounds) {
    cpu_relax();
    return ++rounds_ % kSpinsPerLook == 0;
  }
  if (rounds_ - policy_.spin_rounds < policy_.yield_rounds) {
    ::sched_yield();
    return ++rounds_ - policy_.spin_rounds > kYieldsBeforeLook;
  }
  if (bell != announced_) withdraw();
  if (bell == nullptr) {
    sleep_ns(std::min(kNapNs, policy_.sleep_max_ns));
    return true;
  }
  if (announced_ == nullptr) {
    announce(*bell);
    return false;
  }
  futex_wait(bell->rings, seen_rings_, Deadline::after_ns(sleep_limit_ns_));
  // Still announced, so the next sleep needs no barrier: a writer that publishes after the caller's
  // next poll sees the sleeper and changes `rings` again. Acquire: pairs with ring_sleepers.
  seen_rings_ = bell->rings.load(std::memory_order_acquire);
  return true;
}

void IdleStrategy::announce(Doorbell& bell) noexcept {
  seen_rings_ = bell.rings.load(std::memory_order_acquire);  // pairs with ring_sleepers
  // Relaxed: the barrier below orders it against every ringer's load in ring().
  bell.sleepers.fetch_add(1, std::memory_order_relaxed);
  announced_ = &bell;
  sleep_limit_ns_ = barrier_all_ringers() ? policy_.sleep_max_ns
                                          : std::min(policy_.sleep_max_ns, kUnbarrieredSleepNs);
}

void IdleStrategy::withdraw() noexcept {
  if (announced_ == nullptr) return;
  // Relaxed: a ringer that still sees the sleeper makes one useless system call.
  announced_->sleepers.fetch_sub(1, std::memory_order_relaxed);
  announced_ = nullptr;
}

void IdleStrategy::reset() noexcept {
  withdraw();
  rounds_ = 0;
}

void futex_wait(const std::atomic<uint32_t>& word, uint32_t expected, Deadline deadline) noexcept {
  const int64_t left_ns = deadline.left_ns();
  if (left_ns == 0) return;
  const timespec timeout = to_timespec(left_ns);
  futex(word, FUTEX_WAIT, expected, left_ns == INT64_MAX ? nullptr : &timeout);
}

void futex_wake_all(const std::atomic<uint32_t>& word) noexcept {
  futex(word, FUTEX_WAKE, INT32_MAX, nullptr);
}

void sleep_ns(int64_t duration_ns) noexcept {
  const Deadline end = Deadline::after_ns(duration_ns);
  const timespec until = to_timespec(end.time_ns());
  while (::clock_nanosleep(CLOCK_MONOTONIC, TIMER_ABSTIME, &until, nullptr) == EINTR) {
  }
}

}  // namespace tutti
