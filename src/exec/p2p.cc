// SPDX-License-Identifier: Apache-2.0
// Runs a group of sends and receives: every lane moves its transfers chunk by chunk, in issue
// order.
#include "src/exec/p2p.h"

#include <algorithm>

#include "src/exec/message.h"
#include "src/kernels/reduce_copy.h"

namespace tutti::exec {

P2pOperation::P2pOperation(P2pLaunch launch)
    : launch_(std::move(launch)),
      send_cursors_(launch_.sends.size()),
      recv_cursors_(launch_.recvs.size()) {}

Status P2pOperation::progress(bool* advanced) noexcept {
  if (!local_done_) {
    for (const auto& [from, to] : launch_.local) {
      if (from.bytes != 0 && from.data != to.data)
        kernels::copy_bytes(to.data, from.data, from.bytes, false);
    }
    local_done_ = true;
    *advanced = true;
  }
  bool complete = true;
  Status failure;
  for (size_t i = 0; i < launch_.sends.size(); ++i) {
    const P2pSendLane& lane = launch_.sends[i];
    Cursor& cursor = send_cursors_[i];
    while (cursor.transfer < lane.transfers.size() && send_some(lane, cursor, &failure))
      *advanced = true;
    if (!failure.ok()) return failure;
    if (cursor.transfer < lane.transfers.size()) complete = false;
    if (cursor.referenced && !lane.connection->view.drained()) complete = false;
  }
  for (size_t i = 0; i < launch_.recvs.size(); ++i) {
    const P2pRecvLane& lane = launch_.recvs[i];
    Cursor& cursor = recv_cursors_[i];
    while (cursor.transfer < lane.transfers.size() && receive_some(lane, cursor, &failure))
      *advanced = true;
    if (!failure.ok()) return failure;
    if (cursor.transfer < lane.transfers.size()) complete = false;
  }
  return complete ? kOkStatus : kInProgressStatus;
}

void P2pOperation::advance(Cursor& cursor, const P2pTransfer& transfer, size_t bytes) noexcept {
  cursor.offset += bytes;
  if (cursor.offset < transfer.bytes) return;
  cursor.offset = 0;
  ++cursor.transfer;
}

bool P2pOperation::send_some(const P2pSendLane& lane, Cursor& cursor, Status* failure) noexcept {
  const P2pTransfer& transfer = lane.transfers[cursor.transfer];
  const size_t bytes = std::min(launch_.max_chunk_bytes, transfer.bytes - cursor.offset);
  std::byte* data = transfer.data + cursor.offset;
  OutgoingMessage message;
  if (!acquire_message(*lane.connection, {bytes, data, &launch_.policy}, &message, failure)) {
    if (!failure->ok() && failure->rank < 0) failure->rank = lane.peer;
    return false;
  }
  if (message.slot == nullptr) {
    cursor.referenced = true;
  } else if (bytes != 0) {
    kernels::copy_bytes(message.slot, data, bytes, false);
  }
  commit_message(message, transfer.signature, bytes, *launch_.counters);
  advance(cursor, transfer, bytes);
  return true;
}

Status P2pOperation::take(const IncomingMessage& message, std::byte* into, size_t bytes) noexcept {
  Status status = begin_reading({&message, 1});
  if (status.ok() && message.data == nullptr) {
    status = message.connection->pull(message.connection->view.line().direct, 0, into, bytes);
  } else if (status.ok() && bytes != 0) {
    kernels::copy_bytes(into, message.data, bytes, false);
  }
  const Status after = end_reading({&message, 1});
  return status.ok() ? after : status;
}

bool P2pOperation::receive_some(const P2pRecvLane& lane, Cursor& cursor, Status* failure) noexcept {
  const P2pTransfer& transfer = lane.transfers[cursor.transfer];
  const size_t bytes = std::min(launch_.max_chunk_bytes, transfer.bytes - cursor.offset);
  IncomingMessage message;
  if (peek_message(*lane.connection, lane.peer, transfer.signature, bytes, &message, failure) !=
      Arrival::kMessage) {
    return false;
  }
  *failure = take(message, transfer.data + cursor.offset, bytes);
  if (!failure->ok()) return false;
  lane.connection->view.release();
  advance(cursor, transfer, bytes);
  return true;
}

int P2pOperation::waiting_for() const noexcept {
  for (size_t i = 0; i < launch_.recvs.size(); ++i) {
    if (recv_cursors_[i].transfer < launch_.recvs[i].transfers.size()) return launch_.recvs[i].peer;
  }
  for (size_t i = 0; i < launch_.sends.size(); ++i) {
    if (send_cursors_[i].transfer < launch_.sends[i].transfers.size()) return launch_.sends[i].peer;
    if (send_cursors_[i].referenced && !launch_.sends[i].connection->view.drained())
      return launch_.sends[i].peer;
  }
  return -1;
}

bool P2pOperation::needs(int rank) const noexcept {
  for (size_t i = 0; i < launch_.recvs.size(); ++i) {
    const bool open = recv_cursors_[i].transfer < launch_.recvs[i].transfers.size();
    if (open && launch_.recvs[i].peer == rank) return true;
  }
  for (size_t i = 0; i < launch_.sends.size(); ++i) {
    if (launch_.sends[i].peer != rank) continue;
    const bool open = send_cursors_[i].transfer < launch_.sends[i].transfers.size();
    if (open || (send_cursors_[i].referenced && !launch_.sends[i].connection->view.drained()))
      return true;
  }
  return false;
}

}  // namespace tutti::exec
