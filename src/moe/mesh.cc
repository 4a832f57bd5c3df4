// SPDX-License-Identifier: Apache-2.0
// Slots and messages, one at a time.
#include "src/moe/mesh.h"

#include <cstring>

#include "src/comm/health.h"

namespace tutti::moe {
namespace {

using transport::MessageKind;
using transport::Peeked;

void blame(Status* failure, int rank) noexcept {
  if (!failure->ok() && failure->rank < 0) failure->rank = rank;
}

}  // namespace

Mesh::Mesh(comm::Links& links, Shape shape)
    : links_(links), shape_(std::move(shape)), ports_(shape_.comm_ranks.size()) {}

void Mesh::open() {
  if (links_.resting()) links_.resume();
  for (int rank = 0; rank < n_ranks(); ++rank) {
    if (rank == self() || !active(rank) || port(rank).send != nullptr) continue;
    port(rank).send = &links_.send_to(comm_rank(rank), shape_.channel, shape_.layout);
  }
}

bool Mesh::ready_to_send(int rank, Status* failure) noexcept {
  Port& to = port(rank);
  if (!to.send_ready) {
    *failure = to.send->ready(&to.send_ready);
    blame(failure, comm_rank(rank));
    if (!failure->ok() || !to.send_ready) return false;
  }
  if (!to.send->needs_progress) return true;
  *failure = to.send->progress();
  blame(failure, comm_rank(rank));
  return failure->ok();
}

std::byte* Mesh::acquire(int rank, size_t most_bytes, Status* failure) noexcept {
  if (!ready_to_send(rank, failure)) return nullptr;
  transport::SendConnection& to = *port(rank).send;
  if (to.view.area_free()) {
    port(rank).most_bytes = most_bytes;
    return to.view.area(most_bytes);
  }
  const uint64_t number = to.view.committed + 1;
  if (to.retried != number) add(to.traffic().retries, 1);
  to.retried = number;
  return nullptr;
}

void Mesh::count_sent(Port& port, MessageKind kind, size_t bytes) noexcept {
  if (port.send->needs_progress) port.send->nudge();
  PeerTraffic::Protocol& counted = port.send->traffic().protocols[static_cast<size_t>(kind)];
  add(counted.sent_messages, 1);
  add(counted.sent_bytes, bytes);
  sent_kinds_ |= 1u << static_cast<uint32_t>(kind);
}

void Mesh::commit(int rank, uint32_t signature, size_t bytes) noexcept {
  port(rank).send->view.commit_staged(signature, bytes, port(rank).most_bytes);
  count_sent(port(rank), MessageKind::kStaged, bytes);
}

bool Mesh::send_inline(int rank, uint32_t signature, const void* data, size_t bytes,
                       Status* failure) noexcept {
  if (!ready_to_send(rank, failure)) return false;
  transport::SendView& view = port(rank).send->view;
  if (!view.line_free()) return false;
  std::memcpy(view.line().inline_bytes, data, bytes);
  view.commit(signature, MessageKind::kInline);
  count_sent(port(rank), MessageKind::kInline, bytes);
  return true;
}

bool Mesh::refer(int rank, const void* data, size_t bytes, size_t row_bytes,
                 transport::DirectReference* reference) noexcept {
  if (row_bytes < shape_.direct_min_bytes) return false;
  MessageKind kind = MessageKind::kStaged;
  return port(rank).send->reference(data, bytes, false, &kind, reference) &&
         kind == MessageKind::kMapped;
}

void Mesh::count_referred(int rank, size_t bytes) noexcept {
  constexpr auto kMapped = static_cast<size_t>(MessageKind::kMapped);
  add(port(rank).send->traffic().protocols[kMapped].sent_bytes, bytes);
  sent_kinds_ |= 1u << kMapped;
}

bool Mesh::drained(int rank, Status* failure) noexcept {
  if (port(rank).send->view.drained()) return true;
  return ready_to_send(rank, failure) && port(rank).send->view.drained();
}

bool Mesh::find(int rank, const transport::DirectReference& reference, const std::byte** data,
                Status* failure) noexcept {
  const Status status = port(rank).recv->map(reference, data);
  if (status.in_progress()) return false;
  *failure = status;
  blame(failure, comm_rank(rank));
  return status.ok();
}

bool Mesh::begin_reading(int rank) noexcept { return port(rank).recv->view.begin_reading(); }
bool Mesh::end_reading(int rank) noexcept { return port(rank).recv->view.end_reading(); }

bool Mesh::ready_to_receive(int rank, Status* failure) noexcept {
  Port& from = port(rank);
  if (from.recv == nullptr) {
    *failure = comm::contained(
        *caught_, [&] { from.recv = links_.try_recv_from(comm_rank(rank), shape_.channel); });
    if (!failure->ok() || from.recv == nullptr) return false;
  }
  if (!from.recv->needs_progress) return true;
  *failure = from.recv->progress();
  blame(failure, comm_rank(rank));
  return failure->ok();
}

bool Mesh::peek(int rank, uint32_t signature, Incoming* message, Status* failure) noexcept {
  if (!ready_to_receive(rank, failure)) return false;
  Port& from = port(rank);
  const transport::RecvView& view = from.recv->view;
  const Peeked peeked = view.peek(signature, &from.head);
  if (peeked == Peeked::kNothing) return false;
  if (peeked == Peeked::kMismatch) {
    *failure = {StatusCode::kInvalidUsage, comm_rank(rank),
                "ranks disagree on the MoE call: its kind, its order or its handle differs"};
    return false;
  }
  if (from.head == MessageKind::kInline) {
    *message = {view.line().inline_bytes, transport::kInlineBytes};
    return true;
  }
  const transport::StagedPayload& staged = view.line().staged;
  if (from.head != MessageKind::kStaged || staged.bytes > view.area_bytes) {
    *failure = {StatusCode::kInternalError, comm_rank(rank),
                "a message of a MoE call is neither in a line nor in a slot"};
    return false;
  }
  *message = {view.area(staged, staged.bytes), staged.bytes};
  return true;
}

void Mesh::release(int rank, size_t bytes) noexcept {
  Port& from = port(rank);
  PeerTraffic::Protocol& counted = from.recv->traffic().protocols[static_cast<size_t>(from.head)];
  add(counted.received_messages, 1);
  add(counted.received_bytes, bytes);
  from.recv->view.release();
  if (from.recv->needs_progress) from.recv->nudge();
}

}  // namespace tutti::moe
