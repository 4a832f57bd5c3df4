// SPDX-License-Identifier: Apache-2.0
// Hands a unique id from one rank to the others over the boards, and watches them while they join.
#include "src/comm/reshape.h"

#include <algorithm>
#include <string>
#include <thread>

#include "src/base/monitor.h"
#include "src/base/wait.h"
#include "src/comm/setup.h"

namespace tutti::comm {
namespace {

constexpr int64_t kInviteNs = 2 * kNsPerSecond;  // for one peer to take its invitation
constexpr int64_t kWatchNs = 10 * kNsPerMs;

std::string rank_name(int rank) { return "rank " + std::to_string(rank); }

Deadline init_deadline(const Options& options) {
  const int64_t limit_ns = options.config.local.init_timeout_ns;
  return limit_ns > 0 ? Deadline::after_ns(limit_ns) : Deadline::never();
}

// Those that take part, by their rank in the parent.
class Party {
 public:
  Party(Communicator& parent, std::vector<int> members, const char* what)
      : parent_(parent), members_(std::move(members)), what_(what) {}

  const std::vector<int>& members() const noexcept { return members_; }
  int dead_member() const noexcept {
    for (const int rank : members_) {
      if (rank != parent_.rank() && !parent_.local().transports.peer_failure(rank).ok())
        return rank;
    }
    return -1;
  }
  void expect_alive() const {
    const int dead = dead_member();
    if (dead < 0) return;
    throw Error(StatusCode::kRemoteError, rank_name(dead) + parent_.of_name() +
                                              " has died during " + what_ + "; exclude it as well");
  }

  void invite(const Invitation& invitation) const {
    for (const int rank : members_) {
      if (rank == parent_.rank()) continue;
      expect_alive();
      parent_.path().boards.invite(rank, invitation, Deadline::after_ns(kInviteNs));
    }
  }

  Invitation await(uint64_t sequence, int leader, const Reshape& reshape) const {
    const Deadline deadline = init_deadline(reshape.options);
    while (true) {
      const auto invitation = parent_.local().board.invitation();
      if (invitation.has_value() && invitation->sequence == sequence) return *invitation;
      expect_alive();
      if (reshape.cancelled != nullptr && reshape.cancelled->load(std::memory_order_relaxed))
        throw Error(StatusCode::kInvalidUsage, std::string(what_) + " was aborted");
      if (deadline.expired()) {
        throw Error(StatusCode::kRemoteError,
                    (leader < 0 ? "no rank that was given an id" : rank_name(leader)) +
                        parent_.of_name() + " has called " + what_ + " in time");
      }
      sleep_ns(kNsPerMs / 5);
    }
  }

  std::shared_ptr<Communicator> join(const bootstrap::UniqueId& id, const Seat& seat,
                                     const Reshape& reshape) const;

 private:
  Communicator& parent_;
  std::vector<int> members_;
  const char* what_;
};

// Ends a rendezvous early when a member dies, or the user aborts: members that have not come yet
// could be waited for in vain until the deadline.
class Watch {
 public:
  Watch(const Party& party, const std::atomic<bool>* cancelled)
      : thread_([this, &party, cancelled] { run(party, cancelled); }) {}
  ~Watch() {
    {
      const Monitor::Lock lock = monitor_.lock();
      ended_ = true;
    }
    monitor_.notify_all();
    thread_.join();
  }
  Watch(const Watch&) = delete;
  Watch& operator=(const Watch&) = delete;
  const std::atomic<bool>* stop() const noexcept { return &stop_; }

 private:
  void run(const Party& party, const std::atomic<bool>* cancelled) {
    Monitor::Lock lock = monitor_.lock();
    while (!monitor_.wait(lock, Deadline::after_ns(kWatchNs), [this] { return ended_; })) {
      const bool aborted = cancelled != nullptr && cancelled->load(std::memory_order_relaxed);
      if (aborted || party.dead_member() >= 0) stop_.store(true, std::memory_order_relaxed);
    }
  }

  std::atomic<bool> stop_{false};  // relaxed: a request
  Monitor monitor_;
  bool ended_ = false;  // guarded by monitor_
  std::thread thread_;
};

std::shared_ptr<Communicator> Party::join(const bootstrap::UniqueId& id, const Seat& seat,
                                          const Reshape& reshape) const {
  try {
    const Watch watch(*this, reshape.cancelled);
    return comm::join(id, seat, reshape.options, watch.stop(), reshape.owner);
  } catch (const Error&) {
    expect_alive();  // whatever a dead member has broken, its death is the cause
    throw;
  }
}

std::vector<int> all_but(int n_ranks, const std::vector<int>& excluded) {
  std::vector<int> left;
  for (int rank = 0; rank < n_ranks; ++rank) {
    if (std::find(excluded.begin(), excluded.end(), rank) == excluded.end()) left.push_back(rank);
  }
  return left;
}

}  // namespace

std::shared_ptr<Communicator> shrink(Communicator& parent, const std::vector<int>& excluded,
                                     const Reshape& reshape) {
  const Party party(parent, all_but(parent.n_ranks(), excluded), "tuttiCommShrink");
  const std::vector<int>& members = party.members();
  const auto at = std::find(members.begin(), members.end(), parent.rank());
  const Seat seat{.rank = static_cast<int>(at - members.begin()),
                  .n_ranks = static_cast<int>(members.size())};
  const uint64_t sequence = parent.next_reshape();
  if (members.front() != parent.rank()) {
    const Invitation invitation = party.await(sequence, members.front(), reshape);
    if (invitation.n_ranks != static_cast<uint64_t>(seat.n_ranks)) {
      throw Error(StatusCode::kInvalidUsage,
                  "excludeRanksList leaves " + std::to_string(seat.n_ranks) + " ranks here and " +
                      std::to_string(invitation.n_ranks) + " on " + rank_name(members.front()) +
                      "; all ranks must pass the same list");
    }
    return party.join(invitation.id, seat, reshape);
  }
  const auto id = bootstrap::create_unique_id(reshape.options.config.local.interface_prefix);
  party.invite({.sequence = sequence, .n_ranks = static_cast<uint64_t>(seat.n_ranks), .id = id});
  return party.join(id, seat, reshape);
}

std::shared_ptr<Communicator> grow(Communicator& parent, int n_ranks, const bootstrap::UniqueId* id,
                                   const Reshape& reshape) {
  const Party party(parent, all_but(parent.n_ranks(), {}), "tuttiCommGrow");
  const Seat seat{.rank = parent.rank(), .n_ranks = n_ranks};
  const uint64_t sequence = parent.next_reshape();
  if (id == nullptr) return party.join(party.await(sequence, -1, reshape).id, seat, reshape);
  party.invite({.sequence = sequence, .n_ranks = static_cast<uint64_t>(n_ranks), .id = *id});
  return party.join(*id, seat, reshape);
}

}  // namespace tutti::comm
