// SPDX-License-Identifier: Apache-2.0
// Stands in for src/base/clock.cc and system_wait.cc: the linker takes these and leaves the
// library's own in its archive.
#include "tests/unit/transport_virtual_time.h"

#include <atomic>
#include <utility>

#include "src/base/clock.h"
#include "src/base/wait.h"

namespace tutti {
namespace {

constexpr int64_t kLookNs = 100;  // so that whoever only waits for a time gets there

std::atomic<int64_t> time{kNsPerSecond};  // relaxed: one thread
std::function<void()> others;

}  // namespace

int64_t now_ns() noexcept { return time.fetch_add(kLookNs, std::memory_order_relaxed); }
int64_t wall_ns() noexcept { return now_ns(); }

void sleep_ns(int64_t duration_ns) noexcept {
  transport::testing::pass_time(duration_ns);
  if (others) others();
}

void register_ringer() noexcept {}
bool barrier_all_ringers() noexcept { return true; }
void yield_core() noexcept { sleep_ns(0); }
IdlePolicy IdlePolicy::for_load(int, int) noexcept { return {.spin_rounds = 0, .yield_rounds = 0}; }
void futex_wait(const std::atomic<uint32_t>&, uint32_t, Deadline) noexcept { sleep_ns(kNsPerMs); }
void futex_wake_all(const std::atomic<uint32_t>&) noexcept {}

}  // namespace tutti

namespace tutti::transport::testing {

void pass_time(int64_t ns) noexcept { time.fetch_add(ns, std::memory_order_relaxed); }
void while_asleep(std::function<void()> others_) { others = std::move(others_); }

}  // namespace tutti::transport::testing
