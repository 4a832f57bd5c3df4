// SPDX-License-Identifier: Apache-2.0
// A group of sends and receives on one rank: one lane per peer and direction.
#pragma once

#include <cstddef>
#include <cstdint>
#include <utility>
#include <vector>

#include "src/exec/message.h"
#include "src/exec/task.h"
#include "transport/transport.h"

namespace tutti::exec {

struct P2pTransfer {
  std::byte* data = nullptr;  // read by sends, written by receives
  size_t bytes = 0;           // 0: still one message, so that the ends agree on what matched
  uint32_t signature = 0;     // the same at both ends (element count and datatype)
};
struct P2pSendLane {
  int peer = 0;
  transport::SendConnection* connection = nullptr;
  std::vector<P2pTransfer> transfers;  // in issue order
};
struct P2pRecvLane {
  int peer = 0;
  transport::RecvConnection* connection = nullptr;
  std::vector<P2pTransfer> transfers;
};
struct P2pLaunch {
  std::vector<P2pSendLane> sends;
  std::vector<P2pRecvLane> recvs;
  std::vector<std::pair<P2pTransfer, P2pTransfer>> local;  // send to self, matching receive
  size_t max_chunk_bytes = 0;                              // bytes of a staging slot
  MessagePolicy policy;
  TrafficCounters* counters = nullptr;
};

class P2pOperation final : public Task {
 public:
  explicit P2pOperation(P2pLaunch launch);
  Status progress(bool* advanced) noexcept override;
  int waiting_for() const noexcept override;
  bool needs(int rank) const noexcept override;
  // Transfers of the first receiving lane that are complete.
  size_t received() const noexcept { return recv_cursors_.empty() ? 0 : recv_cursors_[0].transfer; }

 private:
  struct Cursor {
    size_t transfer = 0;
    size_t offset = 0;
    bool referenced = false;  // send lanes: references have been sent
  };
  static void advance(Cursor& cursor, const P2pTransfer& transfer, size_t bytes) noexcept;
  // Each sends or receives at most one message of the lane; true when it did.
  bool send_some(const P2pSendLane& lane, Cursor& cursor, Status* failure) noexcept;
  static Status take(const IncomingMessage& message, std::byte* into, size_t bytes) noexcept;
  bool receive_some(const P2pRecvLane& lane, Cursor& cursor, Status* failure) noexcept;

  P2pLaunch launch_;
  std::vector<Cursor> send_cursors_;
  std::vector<Cursor> recv_cursors_;
  bool local_done_ = false;
};

}  // namespace tutti::exec
