// SPDX-License-Identifier: Apache-2.0
// What arrives at a session: where it is to lie, in which order it counts, and what it means.
#include <cstring>
#include <utility>

#include "transport/network/endpoint.h"
#include "transport/network/session.h"

namespace tutti::transport::network {
namespace {

constexpr size_t kMaxOwnedPayload = 1 << 20;  // of frames that are not messages

bool has_to_wait_for_earlier(const FrameHeader& header) noexcept {
  const FrameKind kind = header.kind;
  if (kind == FrameKind::kTransferNote) return (header.flags & kInOrder) != 0;
  // Puts too: an earlier one that is sent again must not overwrite a later one.
  return kind == FrameKind::kPut || kind == FrameKind::kSignal || kind == FrameKind::kRead ||
         kind == FrameKind::kWords || kind == FrameKind::kFailure;
}

template <typename T>
T decode(const std::byte* payload) noexcept {
  T value;
  std::memcpy(&value, payload, sizeof value);
  return value;
}

}  // namespace

std::shared_ptr<RecvStream> Session::take_offer(const ConnectionId& id) noexcept {
  for (auto& [number, stream] : receives_) {
    if (stream->taken || stream->id != id) continue;
    stream->taken = true;
    return stream;
  }
  return nullptr;
}

RecvStream* Session::find_recv(uint32_t number) noexcept {
  const auto at = receives_.find(number);
  return at == receives_.end() ? nullptr : at->second.get();
}

std::byte* Session::place(SessionPath& from, const FrameHeader& header) noexcept {
  if (!inbox_.is_new(header.sequence)) return nullptr;
  if (header.kind == FrameKind::kMessage) {
    RecvStream* const stream = find_recv(header.stream);
    return stream == nullptr ? nullptr : stream->place(header);
  }
  if (header.kind == FrameKind::kTransferData) {
    if (endpoint_.transfers() == nullptr) return nullptr;
    const Placement placement = endpoint_.transfers()->place(peer_, header);
    from.placing = placement.at != nullptr ? placement.tag : 0;
    return placement.at;
  }
  if (header.payload_bytes > kMaxOwnedPayload) return nullptr;
  auto& buffer = from.arriving[header.sequence];
  buffer = std::make_unique<std::byte[]>(header.payload_bytes);
  return buffer.get();
}

void Session::arrived(SessionPath& from, const FrameHeader& header,
                      const std::byte* payload) noexcept {
  outbox_.acknowledge(header.ack, header.kind == FrameKind::kAck ? header.number : 0);
  if (header.kind == FrameKind::kAck) return;
  if (header.kind == FrameKind::kBye) {
    peer_left_ = true;
    endpoint_.ring_own_bell();
    return;
  }
  if (header.sequence == 0) return greet(from, header);
  from.placing = 0;
  std::unique_ptr<std::byte[]> owned;
  if (const auto at = from.arriving.find(header.sequence); at != from.arriving.end()) {
    owned = std::move(at->second);
    from.arriving.erase(at);
    if (payload == nullptr) payload = owned.get();
  }
  if (!inbox_.is_new(header.sequence)) return;
  inbox_.mark(header.sequence);
  const bool placed = header.kind == FrameKind::kMessage || header.kind == FrameKind::kTransferData;
  if (payload == nullptr && header.payload_bytes != 0 && !placed)
    return fail(endpoint_.name_of(peer_) + " sent a frame that is too large");
  const bool early = has_to_wait_for_earlier(header) && inbox_.cumulative() < header.sequence;
  if (early) {
    if (owned == nullptr && header.payload_bytes != 0) {
      owned = std::make_unique<std::byte[]>(header.payload_bytes);
      std::memcpy(owned.get(), payload, header.payload_bytes);
    }
    in_order_[header.sequence] = {header, std::move(owned)};
  } else {
    dispatch(header, payload);
  }
  run_in_order();
}

void Session::run_in_order() noexcept {
  while (!in_order_.empty() && in_order_.begin()->first <= inbox_.cumulative()) {
    const InOrder next = std::move(in_order_.begin()->second);
    in_order_.erase(in_order_.begin());
    dispatch(next.header, next.payload.get());
  }
}

void Session::dispatch(const FrameHeader& header, const std::byte* payload) noexcept {
  switch (header.kind) {
    case FrameKind::kNone:
      return;
    case FrameKind::kMessage: {
      RecvStream* const stream = find_recv(header.stream);
      if (stream == nullptr || !stream->arrived(header, payload))
        return fail(endpoint_.name_of(peer_) + " sent a message that fits no slot here");
      return endpoint_.ring_own_bell();
    }
    case FrameKind::kCredit:
      if (header.stream >= sends_.size() || !sends_[header.stream]->released(header.number))
        return fail(endpoint_.name_of(peer_) + " gave credit for what it never got");
      return endpoint_.ring_own_bell();
    case FrameKind::kOpen:
      return on_open(header, payload);
    case FrameKind::kAccept:
      if (header.stream < sends_.size() && header.payload_bytes == sizeof(MemoryKey))
        sends_[header.stream]->accept(decode<MemoryKey>(payload));
      return endpoint_.ring_own_bell();
    case FrameKind::kFailure:
      return on_failure(header);
    case FrameKind::kAbandon:
    case FrameKind::kAbandoned:
      if (header.payload_bytes != sizeof(Arrivals))
        return fail(endpoint_.name_of(peer_) + " does not say what has arrived");
      return header.kind == FrameKind::kAbandon
                 ? on_abandon(header.number, decode<Arrivals>(payload))
                 : on_abandoned(header.number, decode<Arrivals>(payload));
    case FrameKind::kWords:
      inquiries_.answer(header, payload);
      return endpoint_.ring_own_bell();
    case FrameKind::kPut:
    case FrameKind::kSignal:
    case FrameKind::kRead:
      return endpoint_.serve_window(*this, header, payload);
    case FrameKind::kTransferData:
    case FrameKind::kTransferNote:
      if (endpoint_.transfers() == nullptr)
        return fail(endpoint_.name_of(peer_) + " sent a transfer to a communicator");
      if (header.kind == FrameKind::kTransferNote)
        return endpoint_.transfers()->noted(*this, header, payload);
      return endpoint_.transfers()->arrived(*this, header, payload);
    default:
      return fail(endpoint_.name_of(peer_) + " sent a frame of unknown kind");
  }
}

void Session::on_open(const FrameHeader& header, const std::byte* payload) noexcept {
  if (header.payload_bytes != sizeof(OpenPayload) || receives_.contains(header.stream)) return;
  const auto open = decode<OpenPayload>(payload);
  const FifoLayout layout{
      .n_lines = open.n_lines, .n_areas = open.n_areas, .area_bytes = open.area_bytes};
  try {
    auto stream = endpoint_.make_receiver(
        {endpoint_.comm_id(), peer_, endpoint_.rank(), open.channel}, header.stream, layout);
    const MemoryKey key =
        endpoint_.carrier().expose(stream->mirror.areas(), layout.staging_bytes());
    receives_[header.stream] = std::move(stream);
    auto answer = std::make_unique<std::byte[]>(sizeof key);
    std::memcpy(answer.get(), &key, sizeof key);
    post({.kind = FrameKind::kAccept, .stream = header.stream}, std::move(answer), sizeof key);
  } catch (const Error& e) {
    fail("a connection of rank " + std::to_string(peer_) + " can't be accepted: " + e.what());
  }
  endpoint_.ring_own_bell();
}

void Session::on_failure(const FrameHeader& header) noexcept {
  Mirror* mirror = nullptr;
  if (header.word == 0) {
    RecvStream* const stream = find_recv(header.stream);
    if (stream != nullptr) mirror = &stream->mirror;
  } else if (header.stream < sends_.size()) {
    mirror = &sends_[header.stream]->mirror;
  }
  if (mirror == nullptr) return;
  // release: pairs with FailureWord::read
  mirror->failure(header.word == 0 ? 0 : 1).value.store(header.number, std::memory_order_release);
  endpoint_.ring_own_bell();
}

}  // namespace tutti::transport::network
