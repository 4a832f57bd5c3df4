// SPDX-License-Identifier: Apache-2.0
// Frames to work requests.
#include "transport/rdma/sender.h"

#include <algorithm>
#include <cstring>
#include <utility>

namespace tutti::transport::rdma {
namespace {

constexpr size_t kGrain = 64;
constexpr size_t grains(size_t bytes) { return (bytes + kGrain - 1) / kGrain * kGrain; }

}  // namespace

Sender::Sender(QueuePair& pair, Memory& memory, size_t device)
    : pair_(pair), memory_(memory), device_(device) {
  finished_.reserve(size_t{4} * kSendDepth);
}

void Sender::start(const QueuePairFacts& peer) {
  peer_rail_ = peer.own_rail;
  piece_bytes_ = std::min(kPieceBytes, size_t{peer.receive_bytes} - sizeof(WireMessage));
  peer_granted_ = peer.receives;
  granted_ = told_ = pair_.receive_depth();
}

void Sender::begin(const network::OutgoingFrame& frame) noexcept {
  pending_ = {.active = true,
              .header = frame.header,
              .payload = frame.payload,
              .bytes = frame.header.payload_bytes,
              .token = frame.token};
  WireKey key;
  const bool keyed = frame.into != nullptr && read_key(*frame.into, &key) &&
                     peer_rail_ < key.n_rails && pending_.bytes > kEagerBytes;
  if (!keyed) {
    pending_.mode = pending_.bytes <= piece_bytes_ ? Mode::kWhole : Mode::kFragments;
    return;
  }
  pending_.remote = key.base + frame.into_offset;
  pending_.rkey = key.rkeys[peer_rail_];
  pending_.used = memory_.find(device_, frame.payload, pending_.bytes);
  pending_.mode = pending_.used != nullptr ? Mode::kWrite : Mode::kBounce;
}

bool Sender::send(const network::OutgoingFrame& frame) noexcept {
  if (pending_.active || error_ != 0 || !may_send()) return false;
  if (finished_.size() + 1 >= finished_.capacity()) return false;
  begin(frame);
  if (pending_.bytes > piece_bytes_) backlog_ += pending_.bytes;
  const uint32_t before = head_;
  pump();
  if (!pending_.active || head_ != before) return true;
  // Not even its beginning had room.
  if (pending_.bytes > piece_bytes_) backlog_ -= pending_.bytes;
  if (pending_.used != nullptr) memory_.release(pending_.used);
  pending_ = {};
  return false;
}

void Sender::pump() noexcept {
  while (pending_.active && error_ == 0 && step()) {
  }
  flush();
}

bool Sender::step() noexcept {
  switch (pending_.mode) {
    case Mode::kWhole:
      return step_whole();
    case Mode::kWrite:
      return pending_.done < pending_.bytes ? step_write() : step_placed_header();
    case Mode::kBounce:
      return pending_.done < pending_.bytes ? step_bounce() : step_placed_header();
    case Mode::kFragments:
      return step_fragment();
  }
  return false;
}

// The payload is no longer needed, or the last record knows the token.
void Sender::finish() noexcept { pending_ = {}; }

bool Sender::step_whole() noexcept {
  if (!may_send()) return false;
  WireMessage message{prefix(WireKind::kWhole, 0, pending_.bytes), pending_.header};
  if (!add_message(message, pending_.payload, pending_.bytes, {}, false)) return false;
  if (pending_.token != 0) finished_.push_back(pending_.token);
  finish();
  return true;
}

bool Sender::step_write() noexcept {
  if (!record_free()) return false;
  const size_t bytes =
      std::min<size_t>(pending_.bytes - pending_.done, pair_.rail().max_message_bytes);
  add_write(pending_.payload + pending_.done, pending_.used->devices[device_].mr->lkey, bytes, {});
  pending_.done += bytes;
  return true;
}

bool Sender::step_bounce() noexcept {
  if (!record_free()) return false;
  const size_t bytes = std::min(pending_.bytes - pending_.done, kBounceBytes);
  size_t offset = 0;
  Record record;
  if (!ring_.take(grains(bytes), &offset, &record.ring)) return false;
  std::byte* const copy = pair_.ring() + offset;
  std::memcpy(copy, pending_.payload + pending_.done, bytes);
  add_write(copy, pair_.lkey(), bytes, record);
  pending_.done += bytes;
  return true;
}

bool Sender::step_placed_header() noexcept {
  if (!may_send()) return false;
  WireMessage message{prefix(WireKind::kWhole, 0, 0), pending_.header};
  message.header.flags |= network::kPlaced;
  Record record{.backlog = static_cast<uint32_t>(pending_.bytes)};
  const bool direct = pending_.mode == Mode::kWrite;
  if (direct) {
    record.token = pending_.token;
    record.used = pending_.used;
  }
  if (pending_.bytes <= piece_bytes_) record.backlog = 0;
  if (!add_message(message, nullptr, 0, record, true)) return false;
  if (direct) ++foreign_;
  if (!direct && pending_.token != 0) finished_.push_back(pending_.token);
  finish();
  return true;
}

bool Sender::step_fragment() noexcept {
  if (!may_send()) return false;
  const size_t bytes = std::min(pending_.bytes - pending_.done, piece_bytes_);
  const bool last = pending_.done + bytes == pending_.bytes;
  WireMessage message{prefix(WireKind::kFragment, pending_.done, bytes), pending_.header};
  const Record record{.backlog = last ? static_cast<uint32_t>(pending_.bytes) : 0};
  if (!add_message(message, pending_.payload + pending_.done, bytes, record, last)) return false;
  pending_.done += bytes;
  if (!last) return true;
  if (pending_.token != 0) finished_.push_back(pending_.token);
  finish();
  return true;
}

WirePrefix Sender::prefix(WireKind kind, size_t offset, size_t bytes) noexcept {
  return {.granted = granted_,
          .offset = static_cast<uint32_t>(offset),
          .bytes = static_cast<uint32_t>(bytes),
          .kind = static_cast<uint16_t>(kind)};
}

ibv_send_wr& Sender::add(const Record& record, bool signal) noexcept {
  if (batched_ == kBatch) flush();
  records_[head_ % records_.size()] = record;
  unsignalled_bytes_ += record.ring;
  signal = signal || ++unsignalled_ >= kSignalEvery || unsignalled_bytes_ >= kSignalBytes;
  if (signal) {
    unsignalled_ = 0;
    unsignalled_bytes_ = 0;
  }
  ibv_send_wr& request = requests_[batched_];
  request = {};
  request.wr_id =
      uint64_t{pair_.tag()} << 32 | QueuePair::kSendBit | (head_ & (QueuePair::kSendBit - 1));
  request.sg_list = &places_[2 * batched_];
  request.num_sge = 1;
  if (signal) request.send_flags = IBV_SEND_SIGNALED;
  if (batched_ > 0) requests_[batched_ - 1].next = &request;
  ++batched_;
  ++head_;
  return request;
}

void Sender::add_write(const std::byte* from, uint32_t lkey, size_t bytes,
                       const Record& record) noexcept {
  ibv_send_wr& request = add(record, false);
  request.opcode = IBV_WR_RDMA_WRITE;
  records_[(head_ - 1) % records_.size()].bytes = static_cast<uint32_t>(bytes);
  request.sg_list[0] = {.addr = reinterpret_cast<uint64_t>(from),
                        .length = static_cast<uint32_t>(bytes),
                        .lkey = lkey};
  request.wr.rdma.remote_addr = pending_.remote + pending_.done;
  request.wr.rdma.rkey = pending_.rkey;
}

bool Sender::add_message(const WireMessage& message, const std::byte* piece, size_t bytes,
                         const Record& record, bool signal) noexcept {
  const size_t total = sizeof message + bytes;
  const bool inlined = total <= pair_.inline_bytes();
  Record with_ring = record;
  with_ring.bytes = static_cast<uint32_t>(total);
  size_t offset = 0;
  if (!inlined && !ring_.take(grains(total), &offset, &with_ring.ring)) return false;
  ibv_send_wr& request = add(with_ring, signal);
  request.opcode = IBV_WR_SEND;
  told_ = message.prefix.granted;
  ++sent_;
  if (inlined) {
    WireMessage& kept = messages_[batched_ - 1];
    kept = message;
    request.send_flags |= IBV_SEND_INLINE;
    request.sg_list[0] = {.addr = reinterpret_cast<uint64_t>(&kept), .length = sizeof kept};
    if (bytes > 0) {
      request.sg_list[1] = {.addr = reinterpret_cast<uint64_t>(piece),
                            .length = static_cast<uint32_t>(bytes)};
      request.num_sge = 2;
    }
    return true;
  }
  std::byte* const copy = pair_.ring() + offset;
  std::memcpy(copy, &message, sizeof message);
  if (bytes > 0) std::memcpy(copy + sizeof message, piece, bytes);
  request.sg_list[0] = {.addr = reinterpret_cast<uint64_t>(copy),
                        .length = static_cast<uint32_t>(total),
                        .lkey = pair_.lkey()};
  return true;
}

void Sender::flush() noexcept {
  if (batched_ == 0) return;
  batched_ = 0;
  ibv_send_wr* bad = nullptr;
  if (const int error = ibv_post_send(pair_.get(), requests_.data(), &bad)) error_ = error;
}

void Sender::tell_credit() noexcept {
  if (granted_ - told_ < pair_.receive_depth() / 4) return;
  if (error_ != 0 || !record_free() || credits() < 1) return;
  if (add_message({prefix(WireKind::kCredit, 0, 0), {}}, nullptr, 0, {}, false)) flush();
}

void Sender::probe() noexcept {
  // What has been posted signalled is waited for already; a few that are not don't matter.
  if (error_ != 0 || !record_free() || batched_ != 0) return;
  ibv_send_wr& request = add({}, true);
  request.opcode = IBV_WR_RDMA_WRITE;
  request.num_sge = 0;
  request.wr.rdma.remote_addr = 0;
  request.wr.rdma.rkey = 0;
  flush();
}

bool Sender::post_last() noexcept {
  if (error_ != 0 || !record_free() || credits() < 1) return false;
  if (!add_message({prefix(WireKind::kCredit, 0, 0), {}}, nullptr, 0, {}, true)) return false;
  flush();
  last_posted_ = error_ == 0;
  return last_posted_;
}

void Sender::completed(uint32_t number) noexcept {
  const uint32_t upto = (number - tail_ + 1) & (static_cast<uint32_t>(QueuePair::kSendBit) - 1);
  if (upto > head_ - tail_) return;  // not one of ours
  for (uint32_t i = 0; i < upto; ++i) {
    Record& record = records_[tail_++ % records_.size()];
    ring_.give_back(record.ring);
    backlog_ -= record.backlog;
    delivered_ += record.bytes;
    if (record.used != nullptr) {
      memory_.release(record.used);
      --foreign_;
    }
    if (record.token != 0) finished_.push_back(record.token);
  }
}

void Sender::take_finished(std::vector<uint64_t>& tokens) noexcept {
  tokens.clear();  // has the capacity of ours: they change places
  tokens.swap(finished_);
}

void Sender::abandon() noexcept {
  for (; tail_ != head_; ++tail_) {
    if (Registration* const used = records_[tail_ % records_.size()].used) memory_.release(used);
  }
  if (pending_.used != nullptr) memory_.release(pending_.used);
  pending_ = {};
  foreign_ = 0;
}

}  // namespace tutti::transport::rdma
