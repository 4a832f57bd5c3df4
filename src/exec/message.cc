// SPDX-License-Identifier: Apache-2.0
// Decides how a message travels and where its bytes lie.
#include "src/exec/message.h"

#include <algorithm>
#include <bit>

#include "src/base/log.h"

namespace tutti::exec {
namespace {

static_assert(transport::kMessageKinds == kProtocols);

using transport::DirectReference;
using transport::MessageKind;
using transport::Peeked;

Status blame(Status status, int peer) noexcept {
  if (status.rank < 0) status.rank = peer;
  return status;
}

constexpr Status kSenderGaveUp{StatusCode::kRemoteError, -1,
                               "a peer has given up while its memory was being read"};

bool is_reference(const IncomingMessage& message) noexcept {
  return message.kind == MessageKind::kMapped || message.kind == MessageKind::kPulled;
}

constexpr const char* kOtherLength =
    "a message has another length than this rank expects: counts differ between ranks";

// Finds the bytes of a message that is not inline. A mapping that is still on its way counts as
// nothing yet.
Arrival locate(transport::RecvConnection& connection, int peer, size_t bytes,
               IncomingMessage* message, Status* failure) noexcept {
  const transport::SlotLine& line = connection.view.line();
  const uint64_t sent =
      message->kind == MessageKind::kStaged ? line.staged.bytes : line.direct.bytes;
  if (sent != bytes) {
    *failure = {StatusCode::kInvalidUsage, peer, kOtherLength};
    return Arrival::kFailed;
  }
  if (message->kind == MessageKind::kStaged) {
    message->data = connection.view.area(line.staged, bytes);
  } else if (message->kind == MessageKind::kMapped) {
    const Status status = connection.map(line.direct, &message->data);
    if (status.in_progress()) return Arrival::kNothing;
    if (!status.ok()) {
      *failure = blame(status, peer);
      return Arrival::kFailed;
    }
  } else {
    message->data = nullptr;
  }
  return Arrival::kMessage;
}

void note_fallback(transport::SendConnection& connection, size_t bytes) noexcept {
  std::atomic<uint64_t>& fallbacks = connection.traffic().fallbacks;
  if (fallbacks.load(std::memory_order_relaxed) == 0) {
    log(LogLevel::kInfo, "exec", connection.rank(),
        "messages to rank {} are copied, such as one of {} bytes: the peer can't reach their "
        "memory; memory of tuttiMemAlloc it can",
        connection.peer(), bytes);
  }
  add(fallbacks, 1);
}

// A message has to wait for room: counts it once.
bool no_room(transport::SendConnection& connection) noexcept {
  const uint64_t number = connection.view.committed + 1;
  if (connection.retried != number) add(connection.traffic().retries, 1);
  connection.retried = number;
  return false;
}

}  // namespace

size_t pipelined_bytes(size_t bytes, size_t max_chunk_bytes) noexcept {
  constexpr size_t kPieces = 4;
  constexpr size_t kLeast = 8 << 10;  // below, a message costs more than it hides
  return std::clamp(std::bit_floor(bytes / kPieces), std::min(kLeast, max_chunk_bytes),
                    max_chunk_bytes);
}

Arrival peek_message(transport::RecvConnection& connection, int peer, uint32_t signature,
                     size_t bytes, IncomingMessage* message, Status* failure) noexcept {
  if (connection.needs_progress) {
    const Status status = connection.progress();
    if (!status.ok()) {
      *failure = blame(status, peer);
      return Arrival::kFailed;
    }
  }
  message->connection = &connection;
  const Peeked peeked = connection.view.peek(message_signature(signature, bytes), &message->kind);
  if (peeked == Peeked::kNothing) return Arrival::kNothing;
  if (peeked == Peeked::kMismatch) {
    *failure = {StatusCode::kInvalidUsage, peer,
                "ranks disagree on the operation: its kind, order, count, datatype, reduction or "
                "root differs"};
    return Arrival::kFailed;
  }
  if (message->kind == MessageKind::kInline) {
    message->data = connection.view.line().inline_bytes;
    return Arrival::kMessage;
  }
  return locate(connection, peer, bytes, message, failure);
}

Status begin_reading(std::span<const IncomingMessage> messages) noexcept {
  for (const IncomingMessage& message : messages) {
    if (is_reference(message) && !message.connection->view.begin_reading()) return kSenderGaveUp;
  }
  return kOkStatus;
}

Status end_reading(std::span<const IncomingMessage> messages) noexcept {
  Status status = kOkStatus;
  for (const IncomingMessage& message : messages) {
    if (is_reference(message) && !message.connection->view.end_reading() &&
        !planted(PlantedBug::kGivenUpIgnored)) {
      status = kSenderGaveUp;
    }
  }
  return status;
}

bool acquire_message(transport::SendConnection& connection, const Sending& what,
                     OutgoingMessage* message, Status* failure) noexcept {
  if (connection.needs_progress) {
    *failure = connection.progress();
    if (!failure->ok()) return false;
  }
  message->connection = &connection;
  message->slot = nullptr;
  message->streaming = false;
  if (!connection.view.line_free()) return no_room(connection);
  const MessagePolicy& policy = *what.policy;
  if (what.bytes == 0 || (policy.allow_inline && what.bytes <= transport::kInlineBytes)) {
    message->kind = MessageKind::kInline;
    message->slot = connection.view.line().inline_bytes;
    return true;
  }
  const bool pull = what.bytes >= policy.pull_min_bytes;
  const bool direct = what.referable != nullptr && !connection.by_value &&
                      (pull || what.bytes >= policy.direct_min_bytes);
  if (direct &&
      connection.reference(what.referable, what.bytes, pull, &message->kind, &message->reference)) {
    return true;
  }
  if (!connection.view.area_free()) return no_room(connection);
  message->fell_back = direct;
  message->kind = MessageKind::kStaged;
  message->slot = connection.view.area(what.bytes);
  message->streaming = connection.stores.begin(what.bytes);
  return true;
}

void commit_message(const OutgoingMessage& message, uint32_t signature, size_t bytes,
                    SentKinds& sent) noexcept {
  transport::SendView& view = message.connection->view;
  PeerTraffic& traffic = message.connection->traffic();
  signature = message_signature(signature, bytes);
  switch (message.kind) {
    case MessageKind::kInline:
      view.commit(signature, MessageKind::kInline);
      break;
    case MessageKind::kStaged:
      message.connection->stores.end(bytes);
      if (message.fell_back) [[unlikely]]
        note_fallback(*message.connection, bytes);
      view.commit_staged(signature, bytes);
      break;
    case MessageKind::kMapped:
    case MessageKind::kPulled:
      view.commit_direct(signature, message.kind, message.reference);
      break;
  }
  if (message.connection->needs_progress) [[unlikely]]
    message.connection->nudge();
  const auto kind = static_cast<size_t>(message.kind);
  sent.mask |= 1u << kind;
  add(traffic.protocols[kind].sent_messages, 1);
  add(traffic.protocols[kind].sent_bytes, bytes);
}

}  // namespace tutti::exec
