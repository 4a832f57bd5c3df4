// SPDX-License-Identifier: Apache-2.0
// The plain-data view of a connection: a FIFO of messages in memory that the executor inlines
// (docs/adr/0003).
//
// Layout of one connection (all offsets from its base, see FifoLayout):
//
//   SlotLine lines[n_lines]     64 B each: 8 B header {sequence:32 | signature:30 | kind:2}, 56 B
//   payload ReleaseWord                 128 B, written by the receiver only: messages released so
//   far FailureWord sender, receiver   128 B each, written by that end only, once: "I have given
//   up, because of rank r" std::byte areas[n_areas][area_bytes]   staging slots
//
// The k-th message (k from 0) uses line k % n_lines and carries sequence k+1 (mod 2^32, never
// compared with 0 at start since a zeroed line has sequence 0 and the first message has 1). A
// staged message also uses the next staging slot in turn. The writer fills the payload, then stores
// the header with release order; the reader loads the header with acquire order, uses the payload,
// then stores `released` with release order; the writer reads `released` with acquire order before
// it writes a line or an area again. Nothing here is a read-modify-write.
#pragma once

#include <algorithm>
#include <atomic>
#include <bit>
#include <cassert>
#include <cstddef>
#include <cstdint>
#include <cstring>

#include "src/base/memory_budget.h"
#include "src/base/planted.h"
#include "src/base/wait.h"

namespace tutti::transport {

enum class MessageKind : uint64_t { kInline = 0, kStaged = 1, kMapped = 2, kPulled = 3 };
inline constexpr int kMessageKinds = 4;
inline constexpr size_t kInlineBytes = 56;
// A signature lies where the header has it, above the two bits of the kind: nothing is shifted or
// masked per message.
inline constexpr uint32_t kSignatureMask = ~uint32_t{3};
constexpr uint32_t to_signature(uint64_t digest) noexcept {
  return static_cast<uint32_t>(digest) & kSignatureMask;
}

// Payload of a staged message.
struct StagedPayload {
  uint64_t bytes;
  uint32_t area;
  uint32_t offset;  // of the first byte, within the slot
};
// Payload of a direct message: bytes that stay with the sender until the receiver has released the
// message.
struct DirectReference {
  uint64_t region;  // kMapped: SharedRegion::id of the sender's process; kPulled: 0
  uint64_t offset;  // kMapped: from the region's base; kPulled: the address in the sender's process
  uint64_t bytes;
};

struct alignas(kCacheLineBytes) SlotLine {
  std::atomic<uint64_t> header;  // release by the sender pairs with acquire in peek()
  union {
    std::byte inline_bytes[kInlineBytes];
    StagedPayload staged;
    DirectReference direct;
  };
};
static_assert(sizeof(SlotLine) == 64 && offsetof(SlotLine, inline_bytes) == 8);
static_assert(std::atomic<uint64_t>::is_always_lock_free);

struct alignas(kFalseSharingBytes) ReleaseWord {
  std::atomic<uint64_t>
      released;  // release by the receiver pairs with acquire in SendView::refresh()
};

// How an end that gives up tells the other, which may be waiting for it: 0, or packed {code:16 |
// cause rank + 1:32}. A receiver also marks here that it reads memory of the sender's (a
// reference): whoever stores first of "I give up" and "I am reading" is seen by the other (all four
// accesses are seq_cst), so after giving up a sender knows whether somebody still reads its
// buffers.
struct alignas(kFalseSharingBytes) FailureWord {
  std::atomic<uint64_t> value;
  std::atomic<uint64_t> reading;

  void announce(uint32_t code, int32_t cause_rank) noexcept {
    value.store((uint64_t{code} << 32) | static_cast<uint32_t>(cause_rank + 1),
                std::memory_order_seq_cst);  // pairs with read(), RecvView::begin_reading() and
                                             // end_reading()
  }
  // False while the end is in order.
  bool read(uint32_t* code, int32_t* cause_rank) const noexcept {
    const uint64_t v = value.load(std::memory_order_acquire);  // pairs with announce()
    *code = static_cast<uint32_t>(v >> 32);
    *cause_rank = static_cast<int32_t>(static_cast<uint32_t>(v)) - 1;
    return v != 0;
  }
};

constexpr uint64_t make_header(uint64_t sequence, uint32_t signature, MessageKind kind) noexcept {
  assert((signature & ~kSignatureMask) == 0);
  return (sequence << 32) | signature | static_cast<uint64_t>(kind);
}

// Sizes of a connection; a power of two each except area_bytes (multiple of 64).
struct FifoLayout {
  uint32_t n_lines = 64;
  uint32_t n_areas = 8;
  uint32_t area_bytes = 64 << 10;

  // Behind the lines, at the next multiple of its alignment.
  constexpr size_t release_offset() const noexcept {
    return (size_t{n_lines} * sizeof(SlotLine) + sizeof(ReleaseWord) - 1) / sizeof(ReleaseWord) *
           sizeof(ReleaseWord);
  }
  constexpr size_t failure_offset() const noexcept {
    return release_offset() + sizeof(ReleaseWord);
  }
  constexpr size_t areas_offset() const noexcept {
    return whole_pages(failure_offset() + 2 * sizeof(FailureWord));
  }
  // The staging slots lie on pages of their own, which can be given back alone.
  constexpr size_t staging_bytes() const noexcept {
    return whole_pages(size_t{n_areas} * area_bytes);
  }
  constexpr size_t total_bytes() const noexcept { return areas_offset() + staging_bytes(); }
};
inline constexpr uint32_t kMaxAreas = 64;

// Where in its staging slot the sender puts its `turn`-th message through that slot, of `bytes`.
// Messages that fill only a part of a slot move on by their size, from slot to slot and from turn
// to turn. From slot to slot, because slots are a power of two apart, so their beginnings share a
// few sets of each cache. From turn to turn, so that all of the staging memory is used before any
// is used again: by then its lines have left the receiver's nearer caches for the last level, and
// storing to them costs a third of what taking them from there would (see kRingCaches in
// src/comm/selection.cc).
constexpr size_t offset_in_area(uint64_t turn, uint32_t area, size_t bytes,
                                uint32_t area_bytes) noexcept {
  const size_t room = std::bit_ceil(std::max(bytes, kCacheLineBytes));
  return ((turn + area) * room) & (std::bit_floor(area_bytes) - 1);
}

// The sender's end. One thread at a time.
struct SendView {
  SlotLine* lines = nullptr;
  std::byte* areas = nullptr;
  const ReleaseWord* release_word = nullptr;
  FailureWord* own_failure = nullptr;
  const FailureWord* peer_failure = nullptr;
  Doorbell* peer_bell = nullptr;  // rung after each commit
  uint64_t n_lines = 0;
  uint64_t line_mask = 0;  // n_lines - 1
  uint32_t n_areas = 0;
  uint32_t area_bytes = 0;
  int turn_shift = 0;       // log2(n_areas)
  uint64_t committed = 0;   // messages sent so far
  uint64_t released = 0;    // the receiver's count when last looked at
  uint64_t areas_used = 0;  // staged messages sent so far
  uint64_t area_message[kMaxAreas] =
      {};  // per area: messages committed, this one included, when it was last used

  void attach(std::byte* base, const FifoLayout& layout, Doorbell* bell) noexcept {
    lines = reinterpret_cast<SlotLine*>(base);
    release_word = reinterpret_cast<const ReleaseWord*>(base + layout.release_offset());
    auto* failures = reinterpret_cast<FailureWord*>(base + layout.failure_offset());
    own_failure = &failures[0];
    peer_failure = &failures[1];
    areas = base + layout.areas_offset();
    peer_bell = bell;
    n_lines = layout.n_lines;
    line_mask = n_lines - 1;
    n_areas = layout.n_areas;
    area_bytes = layout.area_bytes;
    turn_shift = std::countr_zero(n_areas);
  }
  void refresh() noexcept { released = release_word->released.load(std::memory_order_acquire); }

  bool line_free() noexcept {
    const uint64_t lines_there = n_lines + (planted(PlantedBug::kLineReusedEarly) ? 1 : 0);
    if (committed - released < lines_there) return true;
    refresh();
    return committed - released < lines_there;
  }
  // A line and a staging slot.
  bool area_free() noexcept {
    if (!line_free()) return false;
    const uint64_t last =
        area_message[areas_used & (n_areas - 1)] - (planted(PlantedBug::kAreaReusedEarly) ? 1 : 0);
    if (last <= released) return true;
    refresh();
    return last <= released;
  }
  // Where a GPU commits the messages, in the same memory: counts those that it has committed. A
  // line holds the last message that used it, which may be many turns ahead of what was counted.
  void follow() noexcept {
    constexpr uint32_t kHalf = uint32_t{1} << 31;
    while (lines != nullptr) {
      const uint64_t header =
          line().header.load(std::memory_order_acquire);  // pairs with the GPU's
      const uint32_t ahead =
          static_cast<uint32_t>(header >> 32) - static_cast<uint32_t>(committed + 1);
      if (header == 0 || ahead >= kHalf) return;  // none yet, or that of a turn before
      committed += uint64_t{ahead} + 1;
    }
  }
  // Everything sent so far has been consumed: no reference of ours is in use any more.
  bool drained() noexcept {
    if (released == committed) return true;
    refresh();
    return released == committed;
  }
  // After own_failure->announce(): the receiver may still read memory that a reference of ours
  // names.
  bool peer_reads() const noexcept {
    return peer_failure->reading.load(std::memory_order_seq_cst) != 0;  // pairs with RecvView
  }
  SlotLine& line() noexcept { return lines[committed & line_mask]; }
  uint32_t area_index() const noexcept { return static_cast<uint32_t>(areas_used & (n_areas - 1)); }
  // Of the next message, which has that size.
  size_t area_offset(size_t bytes) const noexcept {
    return offset_in_area(areas_used >> turn_shift, area_index(), bytes, area_bytes);
  }
  std::byte* area(size_t bytes) noexcept {
    return areas + size_t{area_index()} * area_bytes + area_offset(bytes);
  }

  // Publishes the line. The payload (and area) must have been written before.
  void commit(uint32_t signature, MessageKind kind) noexcept { commit_at(line(), signature, kind); }
  // `l` is line(), for callers that have written to it.
  void commit_at(SlotLine& l, uint32_t signature, MessageKind kind) noexcept {
    commit_silently(l, signature, kind);
    if (peer_bell != nullptr) ring(*peer_bell);
  }
  // The same for callers that ring the peer's bell themselves.
  void commit_silently(SlotLine& l, uint32_t signature, MessageKind kind) noexcept {
    ++committed;
    l.header.store(make_header(committed, signature, kind), std::memory_order_release);
  }
  void commit_staged(uint32_t signature, size_t bytes) noexcept {
    commit_staged(signature, bytes, bytes);
  }
  // The same for a message that was begun before its size was known: at area(most_bytes).
  void commit_staged(uint32_t signature, size_t bytes, size_t most_bytes) noexcept {
    line().staged =
        StagedPayload{bytes, area_index(), static_cast<uint32_t>(area_offset(most_bytes))};
    area_message[area_index()] = committed + 1;
    ++areas_used;
    commit(signature, MessageKind::kStaged);
  }
  void commit_direct(uint32_t signature, MessageKind kind,
                     const DirectReference& reference) noexcept {
    line().direct = reference;
    commit(signature, kind);
  }
};

enum class Peeked : uint8_t { kNothing, kMessage, kMismatch };

// The receiver's end. One thread at a time.
struct RecvView {
  SlotLine* lines = nullptr;
  const std::byte* areas = nullptr;
  ReleaseWord* release_word = nullptr;
  FailureWord* own_failure = nullptr;
  const FailureWord* peer_failure = nullptr;
  Doorbell* peer_bell = nullptr;  // rung after each release
  uint64_t n_lines = 0;
  uint32_t n_areas = 0;
  uint32_t area_bytes = 0;
  uint64_t consumed = 0;  // messages released so far

  void attach(std::byte* base, const FifoLayout& layout, Doorbell* bell) noexcept {
    lines = reinterpret_cast<SlotLine*>(base);
    release_word = reinterpret_cast<ReleaseWord*>(base + layout.release_offset());
    auto* failures = reinterpret_cast<FailureWord*>(base + layout.failure_offset());
    own_failure = &failures[1];
    peer_failure = &failures[0];
    areas = base + layout.areas_offset();
    peer_bell = bell;
    n_lines = layout.n_lines;
    n_areas = layout.n_areas;
    area_bytes = layout.area_bytes;
  }
  const SlotLine& line() const noexcept { return lines[consumed & (n_lines - 1)]; }

  // Is the next message there, and has it the signature that this operation expects? One
  // subtraction decides both.
  Peeked peek(uint32_t signature, MessageKind* kind) const noexcept {
    return peek_at(line(), signature, kind);
  }
  // `next` is line(), for callers that go on using it.
  Peeked peek_at(const SlotLine& next, uint32_t signature, MessageKind* kind) const noexcept {
    const uint64_t header =
        next.header.load(std::memory_order_acquire);  // pairs with SendView::commit
    const uint64_t expected = make_header(consumed + 1, signature, MessageKind::kInline);
    if (header - expected < kMessageKinds || falsely_accepted(header, expected)) [[likely]] {
      *kind = static_cast<MessageKind>(header & 3);
      return Peeked::kMessage;
    }
    return (header >> 32) == (expected >> 32) ? Peeked::kMismatch : Peeked::kNothing;
  }
  // Of a message of `bytes`, no more than a slot has. Whatever the payload says, they lie within
  // the staging memory.
  const std::byte* area(const StagedPayload& staged, size_t bytes) const noexcept {
    return areas + size_t{staged.area & (n_areas - 1)} * area_bytes +
           std::min<size_t>(staged.offset, area_bytes - bytes);
  }

  // Around reading the bytes behind a reference. False: the sender has given up, so its memory must
  // not be read any more, or may have changed while it was; whatever came of it must go nowhere.
  bool begin_reading() noexcept {
    own_failure->reading.store(1, std::memory_order_seq_cst);
    if (peer_failure->value.load(std::memory_order_seq_cst) == 0) return true;
    own_failure->reading.store(0, std::memory_order_release);  // pairs with SendView::peer_reads()
    return false;
  }
  bool end_reading() noexcept {
    // acq_rel: the reads come before it, the load after it. Pairs with SendView::peer_reads().
    own_failure->reading.exchange(0, std::memory_order_acq_rel);
    return peer_failure->value.load(std::memory_order_seq_cst) == 0;
  }

  // Is it there, and inline? One comparison decides all.
  bool peek_inline(const SlotLine& next, uint32_t signature) const noexcept {
    const uint64_t header =
        next.header.load(std::memory_order_acquire);  // pairs with SendView::commit
    const uint64_t expected = make_header(consumed + 1, signature, MessageKind::kInline);
    return header == expected || falsely_accepted(header, expected);
  }
  // release() for callers that ring the peer's bell themselves.
  void release_silently() noexcept {
    ++consumed;
    release_word->released.store(consumed,
                                 std::memory_order_release);  // pairs with SendView::refresh
  }
  void release() noexcept {
    release_silently();
    if (peer_bell != nullptr && !planted(PlantedBug::kReleaseWithoutRing)) ring(*peer_bell);
  }

 private:
  static bool falsely_accepted(uint64_t header, uint64_t expected) noexcept {
    constexpr uint64_t kUnsequenced = (uint64_t{1} << 32) - kMessageKinds;
    if (planted(PlantedBug::kSequenceIgnored))
      return header != 0 && ((header ^ expected) & kUnsequenced) == 0;
    if (planted(PlantedBug::kSignatureIgnored)) return header >> 32 == expected >> 32;
    return false;
  }
};

}  // namespace tutti::transport
