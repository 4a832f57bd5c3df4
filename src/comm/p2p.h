// SPDX-License-Identifier: Apache-2.0
// The point-to-point calls of one group on one communicator: a lane per peer and direction, each
// with its own connection.
#pragma once

#include <memory>
#include <optional>
#include <vector>

#include "src/comm/calls.h"
#include "src/comm/health.h"
#include "src/comm/links.h"
#include "src/comm/selection.h"
#include "src/comm/verdict.h"
#include "src/exec/p2p.h"
#include "src/trace/recorder.h"

namespace tutti::comm {

// Lanes do not wait for each other, neither to connect nor to move: calls that depend on each other
// over several ranks must not. Owned by the communicator's progress.
class P2pGroup final : public exec::Task {
 public:
  // Sorts the calls into lanes. Throws InvalidUsage when a send to self has no receive, or one of
  // another size.
  P2pGroup(const std::vector<P2pCall>& calls, int rank);

  // For the recording.
  const trace::Call& recorded() const noexcept { return recorded_; }

  // What of the communicator a group uses.
  struct Path {
    Links& links;
    const Tuning& tuning;
    exec::TrafficCounters& counters;
    Journal& journal;
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
    std::vector<exec::P2pTransfer> transfers;
    std::vector<SendFacts> facts = {};  // of each transfer
    uint32_t first_ordinal = 0;         // of the pair's sends
    transport::SendConnection* send = nullptr;
    std::unique_ptr<exec::P2pOperation> operation;  // once connected
    bool done = false;
  };
  Lane& lane(int peer, bool is_send);
  void pair_self_calls(const std::vector<P2pCall>& sends, const std::vector<P2pCall>& recvs);
  Status poll_send(const Lane& lane, bool* ready) noexcept;
  bool try_connect(Lane& lane);
  exec::P2pLaunch launch() const;
  Status progress_lane(Lane& lane, bool* advanced) noexcept;

  std::vector<Lane> lanes_;
  trace::Call recorded_;
  std::vector<std::pair<exec::P2pTransfer, exec::P2pTransfer>> local_;
  std::unique_ptr<exec::P2pOperation> local_operation_;
  std::optional<Path> path_;  // once opened
  std::optional<Error>* caught_ = nullptr;
};

}  // namespace tutti::comm
