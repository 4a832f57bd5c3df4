// SPDX-License-Identifier: Apache-2.0
// The point-to-point calls of one group on one communicator: a lane per peer and direction, each
// with its own connection.
#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <span>
#include <vector>

#include "src/comm/calls.h"
#include "src/comm/device_calls.h"
#include "src/comm/health.h"
#include "src/comm/links.h"
#include "src/comm/selection.h"
#include "src/comm/verdict.h"
#include "src/exec/p2p.h"
#include "src/trace/recorder.h"

namespace tutti::comm {

// The operation's part of the signature of its messages. Both ends compute it from their own
// arguments; a difference is noticed by the first message.
uint32_t p2p_signature(size_t count, DType dtype) noexcept;

// Lanes do not wait for each other, neither to connect nor to move: calls that depend on each other
// over several ranks must not. Owned by the communicator's progress.
class P2pGroup final : public exec::Task {
 public:
  P2pGroup() = default;
  // Sorts the calls into lanes; what was there before must have ended. Allocates only when the
  // group is larger than any before. Throws InvalidUsage when a send to self has no receive, or one
  // of another size.
  void assign(std::span<const P2pCall> calls, int rank);
  // After assign() of one call to another rank: it has been counted and written down already, and
  // is that far.
  void go_on(const exec::P2pProgress& progress) noexcept { begun_ = progress; }

  // On a GPU, once complete: it was launched to run, not captured.
  bool runs() const noexcept { return runs_; }
  // For the recording.
  const trace::Call& recorded() const noexcept { return recorded_; }

  // What of the communicator a group uses.
  struct Path {
    Links& links;
    const Tuning& tuning;
    exec::SentKinds& sent;
    Journal& journal;
    DeviceCalls* device = nullptr;  // null: a host rank
  };
  // Throws Error. Called once, before progress(). `caught` keeps what set-up throws later.
  void open(const Path& path, std::optional<Error>& caught);
  // The next message from the peer; nullopt when none is awaited.
  std::optional<AwaitedSend> awaited_send(int peer) const noexcept;

  Status progress(bool* advanced) noexcept override;
  int waiting_for() const noexcept override;
  bool needs(int rank) const noexcept override;

 private:
  struct Lane {
    int peer = 0;
    bool is_send = false;
    size_t first = 0;  // of transfers_ and facts_
    size_t count = 0;
    uint32_t first_ordinal = 0;  // of the pair's sends
    transport::SendConnection* send = nullptr;
    transport::RecvConnection* recv = nullptr;         // on a GPU, once connected
    std::optional<exec::P2pOperation> operation = {};  // on the host, once connected
    bool done = false;                                 // on a GPU: connected
  };
  struct SelfCall {
    exec::P2pTransfer transfer;
    SendFacts facts;
  };
  Lane& lane(int peer, bool is_send);
  void check_self_calls() const;
  void copy_to_self() noexcept;
  Status poll_send(const Lane& lane, bool* ready) noexcept;
  bool try_connect(Lane& lane);
  Status progress_lane(Lane& lane, bool* advanced) noexcept;
  // On a GPU: all at once, when all are connected.
  Status connect_lane(Lane& lane, bool* advanced) noexcept;
  Status launch_when_connected(bool* advanced) noexcept;
  void launch();

  std::vector<Lane> lanes_;
  // Lane by lane, in issue order.
  std::vector<exec::P2pTransfer> transfers_;
  std::vector<SendFacts> facts_;
  // The k-th send belongs to the k-th receive.
  std::vector<SelfCall> self_sends_;
  std::vector<SelfCall> self_recvs_;
  trace::Call recorded_;
  std::optional<exec::P2pProgress> begun_;  // of the only call, when it did not begin here
  std::vector<void*> streams_;              // on a GPU: of the calls, each once
  bool runs_ = true;
  std::optional<Path> path_;  // once opened
  std::optional<Error>* caught_ = nullptr;
};

}  // namespace tutti::comm
