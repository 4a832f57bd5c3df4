// SPDX-License-Identifier: Apache-2.0
// Notes between ends, and addresses made of them.
#include "transport/cuda_p2p/connection.h"

#include <cstring>
#include <string>
#include <utility>

#include "src/base/log.h"
#include "transport/layout_check.h"

namespace tutti::transport::cuda_p2p {
namespace {

constexpr uint64_t kHostComm = 0x6375'6461'5f70'3270;  // "cuda_p2p"
constexpr int32_t kAnswerChannel = 1 << 30;            // above all channels of communicators
constexpr uint32_t kSignature = to_signature(0x6e6f'7465);

// The sender's part: the word of the lines, then that of the inline slots.
constexpr size_t kInlineWord = sizeof(ReleaseWord);
static_assert(kWordsBytes == kInlineWord + sizeof(ReleaseWord));

// The receiver's part: the FIFO, then the inline slots. The layout's own words stay unused.
size_t inline_offset(const FifoLayout& layout) noexcept { return layout.total_bytes(); }
size_t fifo_bytes(const FifoLayout& layout) noexcept {
  return inline_offset(layout) + size_t{kInlineFifoSlots} * kInlineFifoSlotBytes;
}

DeviceFifo addresses(cuda::DevicePtr fifo, cuda::DevicePtr words, const FifoLayout& layout,
                     bool whole_lines) noexcept {
  return {.lines = fifo,
          .release_word = words,
          .areas = fifo + layout.areas_offset(),
          .layout = layout,
          .inline_fifo = {.slots = fifo + inline_offset(layout),
                          .released = words + kInlineWord,
                          .n_slots = kInlineFifoSlots,
                          .slot_bytes = kInlineFifoSlotBytes,
                          .whole_lines = whole_lines}};
}

Note note_of(const Place& place, const FifoLayout& layout) noexcept {
  return {.place = place,
          .layout = layout,
          .n_inline_slots = kInlineFifoSlots,
          .inline_slot_bytes = kInlineFifoSlotBytes,
          .reserved = 0};
}

Error unexpected(int rank) {
  return {StatusCode::kRemoteError,
          "expected rank " + std::to_string(rank) +
              " to say where its GPU memory lies, got something else; do both ranks use one "
              "version of the library?"};
}

}  // namespace

uint64_t host_comm_id(uint64_t comm_id) noexcept { return comm_id ^ kHostComm; }

ConnectionId request_of(const ConnectionId& id) noexcept {
  return {host_comm_id(id.comm_id), id.source_rank, id.sink_rank, id.channel};
}
ConnectionId answer_of(const ConnectionId& id) noexcept {
  return {host_comm_id(id.comm_id), id.sink_rank, id.source_rank, id.channel | kAnswerChannel};
}

bool read_note(RecvConnection& from, int rank, Note* note) {
  MessageKind kind = MessageKind::kInline;
  const Peeked peeked = from.view.peek(kSignature, &kind);
  if (peeked == Peeked::kNothing) return false;
  const StagedPayload& staged = from.view.line().staged;
  if (peeked == Peeked::kMessage && kind == MessageKind::kStaged && staged.bytes == sizeof *note) {
    std::memcpy(note, from.view.area(staged, sizeof *note), sizeof *note);
    from.view.release();
    if (is_valid(note->layout) && note->n_inline_slots == kInlineFifoSlots &&
        note->inline_slot_bytes == kInlineFifoSlotBytes)
      return true;
  }
  throw unexpected(rank);
}

bool has_reached(RecvConnection& from, int rank) {
  MessageKind kind = MessageKind::kStaged;
  const Peeked peeked = from.view.peek(kSignature, &kind);
  if (peeked == Peeked::kNothing) return false;
  if (peeked == Peeked::kMessage && kind == MessageKind::kInline) return true;
  throw unexpected(rank);
}

void send_note(SendConnection& to, const Note& note) noexcept {
  std::memcpy(to.view.area(sizeof note), &note, sizeof note);
  to.view.commit_staged(kSignature, sizeof note);
}

P2pSend::P2pSend(const ConnectionId& id, Pair pair, const FifoLayout& layout, Part words,
                 std::unique_ptr<SendConnection> request)
    : id_(id),
      pair_(std::move(pair)),
      layout_(layout),
      words_(std::move(words)),
      request_(std::move(request)) {
  by_value = true;
}

Status P2pSend::ready(bool* is_ready) noexcept {
  *is_ready = fifo_.has_value();
  if (*is_ready || !failure_.ok()) return failure_;
  try {
    advance();
    *is_ready = fifo_.has_value();
  } catch (const Error& error) {
    log(LogLevel::kError, "transport", id_.source_rank, "a connection to GPU memory of rank {}: {}",
        id_.sink_rank, error.what());
    failure_ = {error.code(), id_.sink_rank,
                "the connection to the receiver's GPU memory can't be made (see the log)"};
  }
  return failure_;
}

void P2pSend::advance() {
  if (!asked_) {
    bool open = false;
    failure_ = request_->ready(&open);
    if (!failure_.ok() || !open) return;
    send_note(*request_, note_of(words_.show_to(pair_.peer.process), layout_));
    asked_ = true;
  }
  if (answer_ == nullptr) {
    const std::shared_ptr<Transport> host = pair_.host.lock();
    if (host != nullptr) answer_ = host->try_accept(answer_of(id_), pair_.peer);
    if (answer_ == nullptr) return;
  }
  Note note{};
  if (!read_note(*answer_, id_.sink_rank, &note)) return;
  attach(note);
  request_->view.commit(kSignature, MessageKind::kInline);
  request_.reset();  // what was sent stays for the receiver
  answer_.reset();
}

void P2pSend::attach(const Note& note) {
  fifo_.emplace(pair_.gpu, note.place, pair_.same_process, id_.sink_rank);
  device = addresses(fifo_->address(), words_.address(), layout_, pair_.whole_lines);
}

P2pRecv::P2pRecv(Pair pair, Pool& pool, const Note& request)
    : pair_(std::move(pair)),
      layout_(request.layout),
      fifo_(pool.cut(fifo_bytes(layout_))),
      words_(pair_.gpu, request.place, pair_.same_process, pair_.peer.rank) {
  device = addresses(fifo_.address(), words_.address(), layout_, pair_.whole_lines);
}

Note P2pRecv::answer() { return note_of(fifo_.show_to(pair_.peer.process), layout_); }

}  // namespace tutti::transport::cuda_p2p
