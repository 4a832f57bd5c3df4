// SPDX-License-Identifier: Apache-2.0
// One-sided calls: put into a peer's window, add to its counter, wait for counters of ours.
#pragma once

#include <cstdint>
#include <optional>
#include <vector>

#include "src/comm/calls.h"
#include "src/comm/notice_board.h"
#include "src/exec/task.h"

namespace tutti::comm {

// Owned by the communicator's progress.
class Signals {
 public:
  Signals(int n_ranks, int rank, NoticeBoard& mine, PeerBoards& peers)
      : rank_(rank), n_ranks_(n_ranks), mine_(mine), peers_(peers), sender_(*this), waiter_(*this) {
    taken_.resize(static_cast<size_t>(n_ranks) * kSignalsPerPeer);
  }

  // As a task: puts the bytes, if any, then signals. Waits for the peer only to map its memory on
  // first use. What it throws goes to `caught`. The call must stay until it has ended.
  exec::Task& send(const SignalCall& call, std::optional<Error>& caught) noexcept {
    sender_.call = &call;
    sender_.caught = &caught;
    sender_.put = false;
    sender_.patience_ns = kFirstPatienceNs;
    return sender_;
  }

  // The wait as a task; the call must stay until it has ended.
  exec::Task& wait(const WaitCall& call) noexcept {
    waiter_.call = &call;
    return waiter_;
  }

 private:
  static constexpr int64_t kFirstPatienceNs = kNsPerMs;
  struct Sender final : exec::Task {
    explicit Sender(Signals& owner) : signals(owner) {}
    Status progress(bool* advanced) noexcept override;
    int waiting_for() const noexcept override { return call->peer; }
    bool needs(int rank) const noexcept override { return rank == call->peer; }
    bool send();
    transport::RemoteRegion* find_board();
    Signals& signals;
    const SignalCall* call = nullptr;
    std::optional<Error>* caught = nullptr;
    bool put = false;         // the bytes are there
    int64_t patience_ns = 0;  // for the peer to answer, in one call of progress()
  };
  struct Waiter final : exec::Task {
    explicit Waiter(Signals& owner) : signals(owner) {}
    Status progress(bool* advanced) noexcept override;
    int waiting_for() const noexcept override;
    bool needs(int rank) const noexcept override;
    Signals& signals;
    const WaitCall* call = nullptr;
  };
  uint64_t& taken(int peer, int signal) noexcept {
    return taken_[static_cast<size_t>(peer) * kSignalsPerPeer + static_cast<size_t>(signal)];
  }
  bool arrived(const WaitCall::Target& target) noexcept {
    return mine_.signals(target.peer, target.signal) - taken(target.peer, target.signal) >=
           target.count;
  }

  int rank_;
  int n_ranks_;
  NoticeBoard& mine_;
  PeerBoards& peers_;
  std::vector<uint64_t> taken_;  // signals that earlier waits have taken, by peer and index
  Sender sender_;
  Waiter waiter_;
};

}  // namespace tutti::comm
