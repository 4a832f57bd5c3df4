// SPDX-License-Identifier: Apache-2.0
// How threads wait and wake each other on this system. A simulation puts its own in place of this
// file.
#include <sched.h>
#include <time.h>
#include <unistd.h>

#include <cerrno>

#include <linux/futex.h>
#include <linux/membarrier.h>
#include <sys/syscall.h>

#include "src/base/wait.h"

namespace tutti {
namespace {

static_assert(sizeof(std::atomic<uint32_t>) == sizeof(uint32_t) &&
              std::atomic<uint32_t>::is_always_lock_free);

timespec to_timespec(int64_t ns) noexcept {
  return {.tv_sec = ns / kNsPerSecond, .tv_nsec = ns % kNsPerSecond};
}

long futex(const std::atomic<uint32_t>& word, int operation, uint32_t value,
           const timespec* timeout) noexcept {
  return ::syscall(SYS_futex, &word, operation, value, timeout, nullptr, 0);
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

bool barrier_all_ringers() noexcept {
  return ::syscall(SYS_membarrier, MEMBARRIER_CMD_GLOBAL_EXPEDITED, 0, 0) == 0;
}

void yield_core() noexcept { ::sched_yield(); }

IdlePolicy IdlePolicy::for_load(int ranks, int cores) noexcept {
  if (ranks <= cores) return {};
  return {.spin_rounds = 0, .yield_rounds = 100};
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
