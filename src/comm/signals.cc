// SPDX-License-Identifier: Apache-2.0
// Puts and signals go straight into the peer's memory; waits read this rank's own board.
#include "src/comm/signals.h"

#include "src/comm/window.h"

namespace tutti::comm {
namespace {

constexpr int64_t kMapBoardNs = 10 * kNsPerSecond;

}  // namespace

void Signals::send(const SignalCall& call) {
  if (call.window != nullptr) call.window->put(call.peer, call.offset, call.data, call.bytes);
  if (call.peer == rank_) {
    mine_.signal_self(rank_, call.signal);
    return;
  }
  transport::RemoteRegion& board = peers_.at(call.peer, Deadline::after_ns(kMapBoardNs));
  const Status status =
      board.add_signal(NoticeBoard::signal_offset(n_ranks_, rank_, call.signal), 1);
  if (!status.ok()) {
    throw Error(status.code, "rank " + std::to_string(call.peer) + " can't be signalled: " +
                                 (status.reason != nullptr ? status.reason : "its memory is gone"));
  }
}

Status Signals::Waiter::progress(bool* advanced) noexcept {
  // A counter may be described twice, so counts are taken one by one and given back when the whole
  // has not come.
  size_t done = 0;
  for (; done < call->targets.size(); ++done) {
    const WaitCall::Target& target = call->targets[done];
    if (!signals.arrived(target)) break;
    signals.taken(target.peer, target.signal) += target.count;
  }
  if (done == call->targets.size()) {
    *advanced = true;
    return kOkStatus;
  }
  for (size_t i = 0; i < done; ++i) {
    signals.taken(call->targets[i].peer, call->targets[i].signal) -= call->targets[i].count;
  }
  return kInProgressStatus;
}

int Signals::Waiter::waiting_for() const noexcept {
  for (const WaitCall::Target& target : call->targets) {
    if (!signals.arrived(target)) return target.peer;
  }
  return -1;
}

bool Signals::Waiter::needs(int rank) const noexcept {
  for (const WaitCall::Target& target : call->targets) {
    if (target.peer == rank && !signals.arrived(target)) return true;
  }
  return false;
}

}  // namespace tutti::comm
