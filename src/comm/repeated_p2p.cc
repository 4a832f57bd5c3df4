// SPDX-License-Identifier: Apache-2.0
// One message from the C API to its line or slot, and back; what is unusual goes the long way.
#include "src/comm/repeated_p2p.h"

#include <algorithm>
#include <bit>

#include "src/comm/driver.h"
#include "src/comm/p2p.h"
#include "src/comm/recording.h"
#include "src/comm/work.h"
#include "src/exec/message.h"
#include "src/kernels/reduce_copy.h"

namespace tutti::comm {
namespace {

using transport::MessageKind;

constexpr uint32_t kEagerPolls = 64;  // without a pause: about the time that a line needs to come

template <typename Ready>
bool poll(uint32_t polls, Ready ready) noexcept {
  const uint32_t pausing = polls > kEagerPolls ? polls - kEagerPolls : 0;
  for (; polls != 0; --polls) {
    if (ready()) return true;
    if (polls <= pausing) cpu_relax();
  }
  return false;
}

struct Begun {
  uint64_t ticket = 0;
  uint64_t record = 0;
};

uint64_t begin_record(Communicator& comm, const KnownTransfer& known) noexcept {
  return comm.recorder().begin(known.recorded, comm.path().collectives.begun(), 0);
}

// `protocol`: see Stats::publish().
void complete(Communicator& comm, const Begun& begun, int protocol) noexcept {
  comm.stats().publish(protocol, comm.stats().algorithm());
  comm.recorder().end(begun.record, protocol);
  comm.order().leave(begun.ticket, comm.bell());
}

size_t next_chunk(const KnownTransfer& known, size_t done) noexcept {
  return std::min(known.chunk_bytes, known.bytes - done);
}

// The next message, if there is room for it.
bool send_some(const exec::MessagePolicy& policy, const KnownTransfer& known, const void* data,
               exec::P2pProgress& progress, exec::SentKinds& sent) noexcept {
  const size_t bytes = next_chunk(known, progress.bytes);
  const std::byte* const from = static_cast<const std::byte*>(data) + progress.bytes;
  exec::OutgoingMessage message;
  Status failure;
  if (!exec::acquire_message(*known.send, {bytes, from, &policy}, &message, &failure)) return false;
  if (message.slot == nullptr) {
    progress.referenced = true;
  } else {
    kernels::copy_bytes(message.slot, from, bytes, message.streaming);
  }
  exec::commit_message(message, known.signature, bytes, sent);
  progress.bytes += bytes;
  return true;
}

// What the most usual message needs of that.
bool send_inline(const KnownTransfer& known, const void* data, exec::SentKinds& sent) noexcept {
  transport::SendView& view = known.send->view;
  if (!view.line_free()) return false;
  transport::SlotLine& line = view.line();
  kernels::copy_small(line.inline_bytes, data, known.bytes);
  view.commit_at(line, exec::message_signature(known.signature, known.bytes), MessageKind::kInline);
  constexpr auto kInline = static_cast<size_t>(MessageKind::kInline);
  sent.mask |= 1u << kInline;
  PeerTraffic::Protocol& counted = known.send->traffic().protocols[kInline];
  add(counted.sent_messages, 1);
  add(counted.sent_bytes, known.bytes);
  return true;
}

// False: it has not come, or is for the long way to look at.
bool receive_some(const KnownTransfer& known, void* data, exec::P2pProgress& progress) noexcept {
  const size_t bytes = next_chunk(known, progress.bytes);
  std::byte* const into = static_cast<std::byte*>(data) + progress.bytes;
  exec::IncomingMessage message;
  Status failure;
  if (exec::peek_message(*known.recv, known.peer, known.signature, bytes, &message, &failure) !=
      exec::Arrival::kMessage) {
    return false;
  }
  if (message.kind == MessageKind::kInline) {
    kernels::copy_small(into, message.data, bytes);
  } else {
    if (message.data == nullptr || !exec::begin_reading({&message, 1}).ok()) return false;
    kernels::copy_bytes(into, message.data, bytes, known.streaming);
    if (!exec::end_reading({&message, 1}).ok()) return false;
  }
  exec::release_message(message, bytes);
  progress.bytes += bytes;
  return true;
}

[[gnu::noinline]] void wait_on(Communicator& comm, const P2pCall& call, const Begun& begun,
                               const exec::P2pProgress& progress) {
  static thread_local P2pGroup p2p;  // reused: a call allocates nothing
  p2p.assign({&call, 1}, comm.rank());
  p2p.go_on(progress);
  Work work(comm, p2p, {begun.ticket, begun.record});
  Work* const one = &work;
  drive({&one, 1});
  if (work.error().has_value()) throw *work.error();
}

bool send(Communicator& comm, KnownTransfer& known, const P2pCall& call, uint64_t ticket) {
  DataPath& path = comm.path();
  const exec::MessagePolicy& policy = path.tuning.policy;
  const bool fits_inline =
      known.bytes == 0 || (policy.allow_inline && known.bytes <= transport::kInlineBytes);
  exec::P2pProgress progress;
  exec::SentKinds sent;
  const auto some = [&] { return send_some(policy, known, call.data, progress, sent); };
  if (!(fits_inline ? send_inline(known, call.data, sent) : some())) return false;
  if (fits_inline) progress.bytes = known.bytes;
  // What is written down goes second: the first message is on its way.
  const Begun begun{ticket, begin_record(comm, known)};
  comm.local().board.journal().note_send((*known.ordinal)++, known.peer, {known.count, call.dtype});
  const uint32_t polls = comm.idle_policy().spin_rounds;
  bool complete_now = true;
  while (complete_now && progress.bytes < known.bytes) complete_now = poll(polls, some);
  if (complete_now && progress.referenced)
    complete_now = poll(polls, [&] { return known.send->view.drained(); });
  if (complete_now) {
    complete(comm, begun, std::bit_width(sent.mask));
  } else {
    path.collectives.sent().mask |= sent.mask;
    wait_on(comm, call, begun, progress);
  }
  return true;
}

void receive(Communicator& comm, KnownTransfer& known, const P2pCall& call, uint64_t ticket) {
  exec::P2pProgress progress;
  const auto some = [&] { return receive_some(known, call.data, progress); };
  bool there = some();
  const Begun begun{ticket, begin_record(comm, known)};
  ++*known.ordinal;
  const uint32_t polls = comm.idle_policy().spin_rounds;
  if (!there) there = poll(polls, some);
  while (there && progress.bytes < known.bytes) there = poll(polls, some);
  if (!there) return wait_on(comm, call, begun, progress);
  complete(comm, begun, 0);
}

// For calls from now on; in place of another one.
void enter(Communicator& comm, const P2pCall& call, uint64_t kind) noexcept {
  DataPath& path = comm.path();
  const size_t bytes = call.count * size_of(call.dtype);
  KnownTransfer& known = path.transfers.place_for(call.count, kind);
  known = {.count = call.count,
           .kind = kind,
           .bytes = bytes,
           .chunk_bytes = exec::pipelined_bytes(bytes, path.tuning.layout.area_bytes),
           .streaming = bytes >= path.tuning.policy.streaming_min_bytes,
           .signature = p2p_signature(call.count, call.dtype),
           .peer = call.peer,
           .send = call.is_send ? path.links.find_send(call.peer, kP2pChannel) : nullptr,
           .recv = call.is_send ? nullptr : path.links.find_recv(call.peer, kP2pChannel),
           .ordinal = path.links.p2p_count(call.peer, call.is_send),
           .recorded = comm.recorder().describe(recorded_call({&call, 1}), "")};
  const bool whole = known.ordinal != nullptr && (known.send != nullptr || known.recv != nullptr);
  const bool slow = (known.send != nullptr && known.send->needs_progress) ||
                    (known.recv != nullptr && known.recv->needs_progress);
  const bool pulled = bytes >= path.tuning.policy.pull_min_bytes;
  if (!whole || slow || pulled) known.kind = 0;
}

}  // namespace

bool run_repeated(Communicator& comm, const P2pCall& call) {
  comm.team().claim();
  if (comm.team().crowded()) [[unlikely]]
    return false;
  uint64_t ticket = 0;
  if (!comm.order().try_take(&ticket)) [[unlikely]]
    return false;
  DataPath& path = comm.path();
  KnownTransfer* const known =
      path.transfers.find(call.count, make_transfer_key(call.is_send, call.dtype, call.peer));
  const bool usual = known != nullptr && !path.links.resting() && !comm.local().board.any_notice();
  if (usual && !call.is_send) {
    receive(comm, *known, call, ticket);
    return true;
  }
  if (usual && send(comm, *known, call, ticket)) return true;
  comm.order().leave(ticket, comm.bell());
  return false;
}

void remember(Communicator& comm, const P2pCall& call) noexcept {
  DataPath& path = comm.path();
  uint64_t ticket = 0;
  if (call.peer == comm.rank() || !comm.order().try_take(&ticket)) return;
  const uint64_t kind = make_transfer_key(call.is_send, call.dtype, call.peer);
  if (path.transfers.find(call.count, kind) == nullptr) enter(comm, call, kind);
  comm.order().leave(ticket, comm.bell());
}

}  // namespace tutti::comm
