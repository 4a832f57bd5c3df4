// SPDX-License-Identifier: Apache-2.0
// Turns lines of a mirror into frames, and frames into lines.
#include "transport/network/stream.h"

#include <algorithm>
#include <bit>
#include <cstring>

namespace tutti::transport::network {
namespace {

constexpr uint32_t kKindMask = 3;

bool is_bulk(MessageKind kind) noexcept { return kind != MessageKind::kInline; }
MessageKind kind_of(uint32_t word) noexcept { return static_cast<MessageKind>(word & kKindMask); }

}  // namespace

void SendStream::accept(const MemoryKey& key) noexcept {
  into_ = key;
  placeable_ = key != MemoryKey{};
  accepted.store(true, std::memory_order_release);  // pairs with NetworkSend::ready()
}

bool SendStream::pending() const noexcept {
  // acquire: pairs with SendView::commit
  const uint64_t header = mirror.line(sent_).header.load(std::memory_order_acquire);
  return header >> 32 == ((sent_ + 1) & UINT32_MAX) && !given_up();
}

bool SendStream::next(size_t most, OutgoingFrame* frame) noexcept {
  const SlotLine& line = mirror.line(sent_);
  // acquire: pairs with SendView::commit, so the payload is there too
  const uint64_t header = line.header.load(std::memory_order_acquire);
  if (header >> 32 != ((sent_ + 1) & UINT32_MAX) || given_up()) return false;
  const auto word = static_cast<uint32_t>(header);
  const MessageKind kind = kind_of(word);
  *frame = {};
  frame->header = {.kind = FrameKind::kMessage, .stream = number, .word = word, .number = sent_};
  if (kind == MessageKind::kInline) {
    frame->payload = line.inline_bytes;
    frame->header.payload_bytes = kInlineBytes;
    return true;
  }
  const uint32_t n_areas = mirror.layout().n_areas;
  const auto area = static_cast<uint32_t>(bulk_sent_ & (n_areas - 1));
  // relaxed: this thread, or an earlier holder of the lock, has stored it
  if (area_message_[area] > mirror.release_word().released.load(std::memory_order_relaxed))
    return false;
  if (kind == MessageKind::kStaged) {
    frame->payload = mirror.area(line.staged.area) + line.staged.offset;
    frame->header.payload_bytes = static_cast<uint32_t>(line.staged.bytes);
  } else {
    frame->payload = std::bit_cast<const std::byte*>(line.direct.offset);
    frame->header.payload_bytes = static_cast<uint32_t>(line.direct.bytes);
    frame->header.flags = kTellRelease;
  }
  frame->payload += part_;
  frame->header.payload_bytes -= part_;
  if (frame->header.payload_bytes > most) {
    frame->header.payload_bytes = static_cast<uint32_t>(most);
    frame->header.flags |= kGoesOn;
  }
  frame->header.place = uint64_t{area} << 32 | part_;
  if (placeable_) {
    frame->into = &into_;
    frame->into_offset = size_t{area} * mirror.layout().area_bytes + part_;
  }
  return true;
}

void SendStream::advance(const FrameHeader& handed) noexcept {
  if ((handed.flags & kGoesOn) != 0) {
    part_ += handed.payload_bytes;
    return;
  }
  part_ = 0;
  ++sent_;
  if (!is_bulk(kind_of(handed.word))) return;
  area_message_[bulk_sent_ & (mirror.layout().n_areas - 1)] = sent_;
  ++bulk_sent_;
}

bool SendStream::released(uint64_t messages) noexcept {
  if (messages > sent_) return false;
  auto& word = mirror.release_word().released;
  // Credits may overtake each other on different paths. relaxed: only holders of the lock store it.
  if (messages > word.load(std::memory_order_relaxed))
    word.store(messages, std::memory_order_release);  // pairs with SendView::refresh
  return true;
}

bool SendStream::begin_reading() noexcept {
  FailureWord& word = mirror.failure(1);
  ++reading_;
  // seq_cst: either this store is seen by SendView::peer_reads() after announce(), or the load sees
  // what was announced.
  word.reading.store(1, std::memory_order_seq_cst);
  if (mirror.failure(0).value.load(std::memory_order_seq_cst) == 0) return true;
  end_reading();
  return false;
}

void SendStream::end_reading() noexcept {
  if (--reading_ == 0)
    mirror.failure(1).reading.store(0, std::memory_order_release);  // pairs with peer_reads()
}

bool RecvStream::makes_sense(const FrameHeader& header) const noexcept {
  const FifoLayout& layout = mirror.layout();
  // acquire: pairs with RecvView::release, so the line may be written again
  const uint64_t released = mirror.release_word().released.load(std::memory_order_acquire);
  if (header.number - released >= layout.n_lines) return false;
  if (!is_bulk(kind_of(header.word)))
    return header.payload_bytes == kInlineBytes && (header.flags & kGoesOn) == 0;
  const uint64_t offset = header.place & UINT32_MAX;
  return header.place >> 32 < layout.n_areas && offset <= layout.area_bytes &&
         header.payload_bytes <= layout.area_bytes - offset;
}

std::byte* RecvStream::place(const FrameHeader& header) noexcept {
  if (!makes_sense(header)) return nullptr;
  if (!is_bulk(kind_of(header.word))) return mirror.line(header.number).inline_bytes;
  return mirror.area(static_cast<uint32_t>(header.place >> 32)) + (header.place & UINT32_MAX);
}

std::optional<uint64_t> RecvStream::add_part(const FrameHeader& header) noexcept {
  const uint64_t offset = header.place & UINT32_MAX;
  const bool last = (header.flags & kGoesOn) == 0;
  if (offset == 0 && last) return header.payload_bytes;
  if (header.payload_bytes == 0) return std::nullopt;
  Parts& parts = parts_[header.place >> 32];
  if (parts.message != header.number + 1) parts = {.message = header.number + 1};
  parts.bytes += header.payload_bytes;
  if (last) parts.of_bytes = offset + header.payload_bytes;
  if (parts.of_bytes == 0) return 0;
  if (parts.bytes > parts.of_bytes) return std::nullopt;
  return parts.bytes == parts.of_bytes ? parts.bytes : 0;
}

bool RecvStream::arrived(const FrameHeader& header, const std::byte* payload) noexcept {
  if (!makes_sense(header)) return false;
  if (payload != nullptr) std::memcpy(place(header), payload, header.payload_bytes);
  SlotLine& line = mirror.line(header.number);
  const auto area = static_cast<uint32_t>(header.place >> 32);
  MessageKind kind = kind_of(header.word);
  if (is_bulk(kind)) {
    const std::optional<uint64_t> bytes = add_part(header);
    if (!bytes.has_value()) return false;
    if (*bytes == 0 && header.payload_bytes != 0) return true;  // more has to come
    if (kind == MessageKind::kStaged) {
      line.staged = {.bytes = *bytes, .area = area, .offset = 0};
    } else {
      kind = MessageKind::kMapped;  // the user maps it with locate()
      line.direct = {
          .region = 0, .offset = uint64_t{area} * mirror.layout().area_bytes, .bytes = *bytes};
    }
  }
  if ((header.flags & kTellRelease) != 0) urgent_ = std::max(urgent_, header.number + 1);
  line.header.store(make_header(header.number + 1, header.word & kSignatureMask, kind),
                    std::memory_order_release);  // pairs with RecvView::peek
  return true;
}

uint64_t RecvStream::batch() const noexcept {
  return std::max(1U, std::min(mirror.layout().n_areas, mirror.layout().n_lines) / 4);
}

bool RecvStream::next_is_there() const noexcept {
  // relaxed: the user's own store
  const uint64_t released = mirror.release_word().released.load(std::memory_order_relaxed);
  // relaxed: whoever uses the message looks with acquire
  const uint64_t header = mirror.line(released).header.load(std::memory_order_relaxed);
  return header >> 32 == ((released + 1) & UINT32_MAX);
}

const std::byte* RecvStream::locate(const DirectReference& reference) const noexcept {
  const size_t all = mirror.layout().staging_bytes();
  if (reference.offset > all || reference.bytes > all - reference.offset) return nullptr;
  return mirror.areas() + reference.offset;
}

bool RecvStream::credit_is_due() const noexcept {
  const uint64_t released = mirror.release_word().released.load(std::memory_order_relaxed);
  if (released == 0) return false;
  if (released % batch() == 0) return true;
  // The line may be written again by now, from the next message's on: then the peer knows already.
  const uint64_t header = mirror.line(released - 1).header.load(std::memory_order_relaxed);
  return (header & kKindMask) == static_cast<uint64_t>(MessageKind::kMapped);
}

bool RecvStream::credit(bool all, uint64_t* released) const noexcept {
  // acquire: pairs with RecvView::release; what was read is not read any more
  *released = mirror.release_word().released.load(std::memory_order_acquire);
  const uint64_t news = *released - credited_;
  if (news == 0) return false;
  const uint32_t batch =
      std::max(1U, std::min(mirror.layout().n_areas, mirror.layout().n_lines) / 4);
  return all || news >= batch || (credited_ < urgent_ && *released >= urgent_);
}

}  // namespace tutti::transport::network
