// SPDX-License-Identifier: Apache-2.0
// Teams by communicator, one table per process.
#include "src/comm/team.h"

#include <pthread.h>

#include <algorithm>
#include <map>

#include "src/base/process_local.h"

namespace tutti::comm {
namespace {

struct Teams {
  std::map<uint64_t, std::weak_ptr<Team>> by_comm;
};

}  // namespace

void name_this_thread() noexcept {
  static constinit std::atomic<uint64_t> last{0};  // relaxed: a number
  // A child's thread is another one, and what it inherits is not its own.
  static const int registered = ::pthread_atfork(nullptr, nullptr, [] {
    this_caller.token = 0;
    this_caller.known = this_caller.solo = Caller::kNobody;
  });
  this_caller.token = last.fetch_add(1, std::memory_order_relaxed) + 1;
  if (registered != 0) return;
  this_caller.known = this_caller.token;
  if (this_caller.group_depth == 0) this_caller.solo = this_caller.known;
}

std::shared_ptr<Team> Team::join(uint64_t comm_id) {
  return ProcessLocal<Teams>::with([&](Teams& teams) {
    std::erase_if(teams.by_comm, [](const auto& entry) { return entry.second.expired(); });
    auto& slot = teams.by_comm[comm_id];
    auto team = slot.lock();
    if (team == nullptr) slot = team = std::make_shared<Team>();
    return team;
  });
}

int Team::enter(uint64_t owner) {
  const std::lock_guard lock(mutex_);
  owners_.push_back(owner);
  version_.fetch_add(1, std::memory_order_relaxed);
  return static_cast<int>(owners_.size()) - 1;
}

void Team::leave(int slot) noexcept { own(slot, 0); }

void Team::own(int slot, uint64_t thread) noexcept {
  const std::lock_guard lock(mutex_);
  owners_[static_cast<size_t>(slot)] = thread;
  version_.fetch_add(1, std::memory_order_relaxed);
}

int Team::owned_by(uint64_t thread) const noexcept {
  const std::lock_guard lock(mutex_);
  return static_cast<int>(std::count(owners_.begin(), owners_.end(), thread));
}

TeamMember::TeamMember(uint64_t comm_id, uint64_t owner)
    : team_(Team::join(comm_id)),
      version_(team_->version_word()),
      slot_(team_->enter(owner)),
      owner_(owner) {}

TeamMember::~TeamMember() { team_->leave(slot_); }

void TeamMember::take_over(uint64_t me) noexcept {
  owner_.store(me, std::memory_order_relaxed);
  team_->own(slot_, me);
}

bool TeamMember::look_around(uint64_t version) noexcept {
  if (team_->owned_by(this_thread_token()) > 1) return true;
  checked_version_.store(version, std::memory_order_relaxed);
  return false;
}

}  // namespace tutti::comm
