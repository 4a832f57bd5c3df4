// SPDX-License-Identifier: Apache-2.0
// Polls works round robin and waits by the idle strategy when none of them moves.
#include "src/comm/driver.h"

#include <algorithm>
#include <memory>

#include "src/base/clock.h"
#include "src/base/wait.h"
#include "src/comm/work.h"

namespace tutti::comm {
namespace {

// What one round of polling found.
struct Round {
  bool advanced = false;
  bool all_done = true;
};

Round poll(std::span<Work* const> works) noexcept {
  Round round;
  for (Work* work : works) {
    if (work->done()) continue;
    work->progress(&round.advanced);
    round.all_done = round.all_done && work->done();
  }
  return round;
}

Doorbell* common_bell(std::span<Work* const> works) noexcept {
  Communicator* first = &works.front()->comm();
  const bool same =
      std::all_of(works.begin(), works.end(), [&](Work* w) { return &w->comm() == first; });
  return same ? &first->bell() : nullptr;
}

}  // namespace

void drive(std::span<Work* const> works) noexcept {
  if (works.empty()) return;
  Doorbell* const bell = common_bell(works);
  // Once we sleep on the bell it must outlive our waking up, also when the communicator is aborted
  // meanwhile.
  std::shared_ptr<Communicator> sleeping_on;
  IdleStrategy idle(works.front()->comm().idle_policy());
  while (true) {
    const Round round = poll(works);
    if (round.all_done) return;
    if (round.advanced) {
      idle.reset();
      // An operation that keeps moving must notice an abort too.
      for (Work* work : works) {
        if (!work->done() && work->comm().health().broken()) [[unlikely]]
          work->look(now_ns());
      }
      continue;
    }
    if (!idle.idle(bell)) continue;
    if (bell != nullptr && sleeping_on == nullptr)
      sleeping_on = works.front()->comm().shared_from_this();
    const int64_t now = now_ns();
    for (Work* work : works) {
      if (!work->done()) work->look(now);
    }
  }
}

}  // namespace tutti::comm
