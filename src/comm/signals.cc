// SPDX-License-Identifier: Apache-2.0
// Puts and signals go straight into the peer's memory; waits read this rank's own board.
#include "src/comm/signals.h"

#include <algorithm>

#include "src/comm/health.h"
#include "src/comm/window.h"

namespace tutti::comm {
namespace {

constexpr int64_t kLongestPatienceNs = 64 * kNsPerMs;

}  // namespace

// Null while the peer has not answered: it may be stopped, which is for the driver to find out.
transport::RemoteRegion* Signals::Sender::find_board() {
  try {
    return &signals.peers_.at(call->peer, Deadline::after_ns(patience_ns));
  } catch (const Error& error) {
    if (error.code() != StatusCode::kRemoteError) throw;
    patience_ns = std::min(2 * patience_ns, kLongestPatienceNs);
    return nullptr;
  }
}

// False when the peer's memory is not mapped yet.
bool Signals::Sender::send() {
  if (!put && call->window != nullptr)
    call->window->put(call->peer, call->offset, call->data, call->bytes);
  put = true;
  if (call->peer == signals.rank_) {
    signals.mine_.signal_self(signals.rank_, call->signal);
    return true;
  }
  transport::RemoteRegion* const board = find_board();
  if (board == nullptr) return false;
  const Status status = board->add_signal(
      NoticeBoard::signal_offset(signals.n_ranks_, signals.rank_, call->signal), 1);
  if (!status.ok()) {
    throw Error(status.code, "rank " + std::to_string(call->peer) + " can't be signalled: " +
                                 (status.reason != nullptr ? status.reason : "its memory is gone"));
  }
  return true;
}

Status Signals::Sender::progress(bool* advanced) noexcept {
  bool sent = false;
  const Status status = contained(*caught, [&] { sent = send(); });
  if (!status.ok()) return status;
  if (!sent) return kInProgressStatus;
  *advanced = true;
  return kOkStatus;
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
