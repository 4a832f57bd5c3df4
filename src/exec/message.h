// SPDX-License-Identifier: Apache-2.0
// One message at one end of a connection: what the executors of collectives and of point-to-point
// groups share.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>

#include "src/exec/task.h"
#include "transport/transport.h"

namespace tutti::exec {

// The signature of one message: the operation's plus the message's length, so that the one
// comparison of the header also notices counts that differ between the two ends. One instruction.
constexpr uint32_t message_signature(uint32_t operation_signature, size_t bytes) noexcept {
  constexpr uint32_t kUnit = ~transport::kSignatureMask + 1;
  return operation_signature + static_cast<uint32_t>(bytes) * kUnit;
}

// Bytes of each message of a transfer in one direction, so that the receiver reads one while the
// sender writes the next; the last may be shorter.
size_t pipelined_bytes(size_t bytes, size_t max_chunk_bytes) noexcept;

// A message at the head of a connection, not yet released.
struct IncomingMessage {
  transport::RecvConnection* connection = nullptr;  // null: the source is a local chunk
  transport::MessageKind kind = transport::MessageKind::kInline;
  const std::byte* data =
      nullptr;  // where its bytes lie in this process; null when they have to be pulled
};
// Gives its place back to the sender.
inline void release_message(const IncomingMessage& message, size_t bytes) noexcept {
  transport::RecvConnection& from = *message.connection;
  PeerTraffic::Protocol& counted = from.traffic().protocols[static_cast<size_t>(message.kind)];
  add(counted.received_messages, 1);
  add(counted.received_bytes, bytes);
  from.view.release();
  if (from.needs_progress) [[unlikely]]
    from.nudge();
}

enum class Arrival : uint8_t { kNothing, kMessage, kFailed };

// Looks for the next message of `connection`. kFailed: *failure says why (a mismatch between ranks,
// a broken connection). `signature` is the operation's; `peer` is for the failure.
Arrival peek_message(transport::RecvConnection& connection, int peer, uint32_t signature,
                     size_t bytes, IncomingMessage* message, Status* failure) noexcept;

// Around reading the bytes of messages that are references (transport::RecvView::begin_reading);
// nothing for others.
Status begin_reading(std::span<const IncomingMessage> messages) noexcept;
Status end_reading(std::span<const IncomingMessage> messages) noexcept;

// A message about to be sent: the kind is decided, its place in the FIFO is ours, nothing is
// visible yet.
struct OutgoingMessage {
  transport::SendConnection* connection = nullptr;
  transport::MessageKind kind = transport::MessageKind::kInline;
  transport::DirectReference reference{};
  std::byte* slot = nullptr;  // where to write the bytes; null for references
  bool streaming = false;     // to be written with non-temporal stores
  bool fell_back = false;     // staged, although it may go by reference
};

// How much of the policy applies to one message.
struct Sending {
  size_t bytes = 0;
  const void* referable = nullptr;  // bytes that may be sent by reference; null when they may not
  const MessagePolicy* policy = nullptr;
};
// Takes a line (and a staging slot) for a message. False when the receiver has to release some
// first; *failure is set when the connection is broken.
bool acquire_message(transport::SendConnection& connection, const Sending& what,
                     OutgoingMessage* message, Status* failure) noexcept;
void commit_message(const OutgoingMessage& message, uint32_t signature, size_t bytes,
                    SentKinds& sent) noexcept;

// Has the peer consumed everything that was sent over this connection? Moves it on where it needs
// that; *failure says when it is broken.
inline bool consumed(transport::SendConnection& connection, Status* failure) noexcept {
  if (connection.view.drained()) return true;
  if (!connection.needs_progress) return false;
  *failure = connection.progress();
  return connection.view.drained();
}

}  // namespace tutti::exec
