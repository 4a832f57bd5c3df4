// SPDX-License-Identifier: Apache-2.0
// Which thread of this process drives which ranks of a communicator: to refuse a call that would
// wait for itself.
#pragma once

#include <atomic>
#include <cstdint>
#include <memory>
#include <mutex>
#include <vector>

#include "src/comm/caller.h"

namespace tutti::comm {

// Gives the calling thread its token, which is never 0 and never another thread's, also of a forked
// child.
void name_this_thread() noexcept;
inline uint64_t this_thread_token() noexcept {
  if (this_caller.token == 0) [[unlikely]]
    name_this_thread();
  return this_caller.token;
}

// The ranks of one communicator that live in this process. A thread owns a rank when it was the
// last one to issue a call on it, or when it has initialised it together with others in a group and
// nobody has called since. CommInitAll gives ownership to nobody: its ranks are usually handed to
// one thread each.
class Team {
 public:
  // The team of a communicator, made by its first rank in this process. Shared: ranks end in any
  // order.
  static std::shared_ptr<Team> join(uint64_t comm_id);

  // A new member's slot.
  int enter(uint64_t owner);
  void leave(int slot) noexcept;
  void own(int slot, uint64_t thread) noexcept;
  int owned_by(uint64_t thread) const noexcept;
  // Changes with every change of ownership. relaxed: a missed change costs a later check, not
  // safety.
  uint64_t version() const noexcept { return version_.load(std::memory_order_relaxed); }
  const std::atomic<uint64_t>& version_word() const noexcept { return version_; }

 private:
  mutable std::mutex mutex_;
  std::vector<uint64_t> owners_;  // by slot; 0: nobody
  std::atomic<uint64_t> version_{1};
};

// One rank's membership.
class TeamMember {
 public:
  TeamMember(uint64_t comm_id, uint64_t owner);
  ~TeamMember();
  TeamMember(const TeamMember&) = delete;
  TeamMember& operator=(const TeamMember&) = delete;

  // The calling thread issues a call on this rank. Two loads when nothing has changed since its
  // last call.
  void claim() noexcept {
    const uint64_t me = this_thread_token();
    if (owner_.load(std::memory_order_relaxed) != me) [[unlikely]]
      take_over(me);
  }
  // It was the last to do so, is in no group, was found to own no further rank, and has not been
  // forked since: neither claim() nor crowded() would find anything to do.
  bool goes_on() const noexcept {
    return owner_.load(std::memory_order_relaxed) == this_caller.solo &&
           checked_version_.load(std::memory_order_relaxed) ==
               version_.load(std::memory_order_relaxed);
  }
  // True when the calling thread owns further ranks of this communicator. Call claim() first.
  bool crowded() noexcept {
    const uint64_t version = team_->version();
    return version != checked_version_.load(std::memory_order_relaxed) && look_around(version);
  }

 private:
  void take_over(uint64_t me) noexcept;
  bool look_around(uint64_t version) noexcept;

  std::shared_ptr<Team> team_;
  const std::atomic<uint64_t>& version_;  // the team's
  int slot_ = 0;
  std::atomic<uint64_t>
      owner_;  // relaxed: a copy of the team's entry for the calling thread's own check
  std::atomic<uint64_t> checked_version_{
      0};  // of the team when its caller was last found alone; relaxed: a cache
};

}  // namespace tutti::comm
