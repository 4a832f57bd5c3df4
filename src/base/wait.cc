// SPDX-License-Identifier: Apache-2.0
// The doorbell's slow half, and the idle strategy.
#include "src/base/wait.h"

#include <algorithm>

#include "src/base/planted.h"

namespace tutti {
namespace {

constexpr int64_t kUnbarrieredSleepNs = kNsPerMs;  // a missed ring costs at most this
constexpr int64_t kNapNs = 200 * kNsPerUs;
constexpr uint32_t kSpinsPerLook = 1024;
constexpr uint32_t kYieldsBeforeLook = 16;

}  // namespace

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

bool IdleStrategy::idle(Doorbell* bell) noexcept {
  if (rounds_ < policy_.spin_rounds) {
    cpu_relax();
    return ++rounds_ % kSpinsPerLook == 0;
  }
  if (rounds_ - policy_.spin_rounds < policy_.yield_rounds) {
    yield_core();
    return ++rounds_ - policy_.spin_rounds > kYieldsBeforeLook;
  }
  if (bell != announced_) withdraw();
  if (bell == nullptr) {
    sleep_ns(std::min(kNapNs, policy_.sleep_max_ns));
    return true;
  }
  if (announced_ == nullptr) {
    announce(*bell);
    if (!planted(PlantedBug::kSleepWithoutPoll)) return false;
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

}  // namespace tutti
