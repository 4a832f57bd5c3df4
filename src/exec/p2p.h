// SPDX-License-Identifier: Apache-2.0
// Sends to one peer, or receives from it, on one rank.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>

#include "src/exec/message.h"
#include "src/exec/task.h"
#include "transport/transport.h"

namespace tutti::exec {

struct P2pTransfer {
  std::byte* data = nullptr;  // read by sends, written by receives
  size_t bytes = 0;           // 0: still one message, so that the ends agree on what matched
  uint32_t signature =
      0;  // the same at both ends (element count and datatype); transport::to_signature
};

// How far a transfer is.
struct P2pProgress {
  size_t bytes = 0;         // sent, or received
  bool referenced = false;  // references have been sent
};

struct P2pLaunch {
  int peer = 0;
  // One of the two.
  transport::SendConnection* send = nullptr;
  transport::RecvConnection* recv = nullptr;
  std::span<const P2pTransfer> transfers;  // in issue order; they outlive the operation
  size_t max_chunk_bytes = 0;              // bytes of a staging slot
  MessagePolicy policy;
  SentKinds* sent = nullptr;
  P2pProgress begun = {};  // of the first transfer
};

// Allocates nothing.
class P2pOperation final : public Task {
 public:
  explicit P2pOperation(const P2pLaunch& launch) noexcept
      : launch_(launch), referenced_(launch.begun.referenced) {
    if (launch.begun.bytes != 0) advance(launch.begun.bytes);
  }
  Status progress(bool* advanced) noexcept override;
  int waiting_for() const noexcept override { return complete() ? -1 : launch_.peer; }
  bool needs(int rank) const noexcept override { return rank == launch_.peer && !complete(); }
  // Transfers that are through.
  size_t ended() const noexcept { return next_; }

 private:
  bool complete() const noexcept {
    return next_ == launch_.transfers.size() && !(referenced_ && !launch_.send->view.drained());
  }
  // Each moves at most one message; true when it did.
  bool send_some(Status* failure) noexcept;
  bool receive_some(Status* failure) noexcept;
  Status take(const IncomingMessage& message, std::byte* into, size_t bytes) const noexcept;
  size_t chunk_bytes() const noexcept;
  void advance(size_t bytes) noexcept;

  P2pLaunch launch_;
  size_t next_ = 0;          // transfer
  size_t offset_ = 0;        // bytes of it that are through
  bool referenced_ = false;  // references have been sent
};

}  // namespace tutti::exec
