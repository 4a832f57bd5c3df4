// SPDX-License-Identifier: Apache-2.0
// What src/base gets from the system (clock.cc, system_wait.cc, system_cores.cc, liveness.cc), from
// the simulated world instead. The linker takes these and leaves the library's own in its archive.
#include <algorithm>

#include "src/base/clock.h"
#include "src/base/cores.h"
#include "src/base/error.h"
#include "src/base/liveness.h"
#include "src/base/wait.h"
#include "tests/sim/world.h"

namespace tutti {

using sim::World;

int64_t now_ns() noexcept {
  const World* world = World::current();
  return world == nullptr ? 0 : world->now();
}

int64_t wall_ns() noexcept { return now_ns(); }

void register_ringer() noexcept {}

bool barrier_all_ringers() noexcept {
  if (World* world = World::current()) world->barrier();
  return true;
}

void yield_core() noexcept {
  if (World* world = World::current()) world->sleep(world->rng().between(0, 3000));
}

IdlePolicy IdlePolicy::for_load(int, int) noexcept {
  return {.spin_rounds = 0, .yield_rounds = World::current()->pace().idle_yields};
}

void futex_wait(const std::atomic<uint32_t>& word, uint32_t expected, Deadline deadline) noexcept {
  if (World* world = World::current()) world->wait_word(word, expected, deadline);
}

void futex_wake_all(const std::atomic<uint32_t>& word) noexcept {
  if (World* world = World::current()) world->wake_word(word);
}

void sleep_ns(int64_t duration_ns) noexcept {
  if (World* world = World::current()) world->sleep(duration_ns);
}

CoreSet usable_cores() { return {1}; }
CacheSizes cache_sizes() { return {.second_level = 1 << 20, .last_level = 32 << 20}; }

const ProcessIdentity& this_process() {
  static const ProcessIdentity nobody;
  const World* world = World::current();
  const int rank = world == nullptr ? -1 : world->running_rank();
  return rank < 0 ? nobody : world->identity(rank);
}

std::string host_name() { return "simulated"; }

int32_t detail::learn_pid() noexcept { return 1; }

FileDescriptor open_pidfd(int32_t) {
  throw Error(StatusCode::kSystemError, "a simulated process has no pidfd");
}

ProcessWatch::ProcessWatch(const ProcessIdentity& who, Means) : who_(who) {
  throw Error(StatusCode::kSystemError, "a simulated process can't be watched");
}

// As /proc tells it: of processes of the same host.
char process_state(const ProcessIdentity& who) noexcept {
  const World* world = World::current();
  const int rank = world == nullptr ? -1 : world->rank_of_pid(who.pid);
  if (rank < 0 || who.host_id != this_process().host_id || world->crashed(rank)) return 0;
  return world->paused(rank) ? 'T' : 'S';
}

bool ProcessWatch::exited() const noexcept { return by_start_time_; }

}  // namespace tutti
