// SPDX-License-Identifier: Apache-2.0
// Moves transfers chunk by chunk, in issue order.
#include "src/exec/p2p.h"

#include <algorithm>

#include "src/exec/message.h"
#include "src/kernels/reduce_copy.h"

namespace tutti::exec {

Status P2pOperation::progress(bool* advanced) noexcept {
  Status failure;
  while (next_ < launch_.transfers.size()) {
    const bool moved = launch_.send != nullptr ? send_some(&failure) : receive_some(&failure);
    if (!failure.ok()) return failure;
    if (!moved) return kInProgressStatus;
    *advanced = true;
  }
  if (referenced_) {
    const bool through = consumed(*launch_.send, &failure);
    return !failure.ok() ? failure : through ? kOkStatus : kInProgressStatus;
  }
  return kOkStatus;
}

size_t P2pOperation::chunk_bytes() const noexcept {
  const size_t whole = launch_.transfers[next_].bytes;
  return std::min(pipelined_bytes(whole, launch_.max_chunk_bytes), whole - offset_);
}

void P2pOperation::advance(size_t bytes) noexcept {
  offset_ += bytes;
  if (offset_ < launch_.transfers[next_].bytes) return;
  offset_ = 0;
  ++next_;
}

bool P2pOperation::send_some(Status* failure) noexcept {
  const P2pTransfer& transfer = launch_.transfers[next_];
  const size_t bytes = chunk_bytes();
  std::byte* data = transfer.data + offset_;
  OutgoingMessage message;
  if (!acquire_message(*launch_.send, {bytes, data, &launch_.policy}, &message, failure)) {
    if (!failure->ok() && failure->rank < 0) failure->rank = launch_.peer;
    return false;
  }
  if (message.slot == nullptr) {
    referenced_ = true;
  } else if (bytes != 0) {
    kernels::copy_bytes(message.slot, data, bytes, message.streaming);
  }
  commit_message(message, transfer.signature, bytes, *launch_.sent);
  advance(bytes);
  return true;
}

Status P2pOperation::take(const IncomingMessage& message, std::byte* into,
                          size_t bytes) const noexcept {
  Status status = begin_reading({&message, 1});
  if (status.ok() && message.data == nullptr) {
    status = message.connection->pull(message.connection->view.line().direct, 0, into, bytes);
  } else if (status.ok() && bytes != 0) {
    const bool streaming = launch_.transfers[next_].bytes >= launch_.policy.streaming_min_bytes;
    kernels::copy_bytes(into, message.data, bytes, streaming);
  }
  const Status after = end_reading({&message, 1});
  return status.ok() ? after : status;
}

bool P2pOperation::receive_some(Status* failure) noexcept {
  const P2pTransfer& transfer = launch_.transfers[next_];
  const size_t bytes = chunk_bytes();
  IncomingMessage message;
  if (peek_message(*launch_.recv, launch_.peer, transfer.signature, bytes, &message, failure) !=
      Arrival::kMessage) {
    return false;
  }
  *failure = take(message, transfer.data + offset_, bytes);
  if (!failure->ok()) return false;
  release_message(message, bytes);
  advance(bytes);
  return true;
}

}  // namespace tutti::exec
