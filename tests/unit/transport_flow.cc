// SPDX-License-Identifier: Apache-2.0
// Uses both ends of a connection as executors do.
#include "tests/unit/transport_flow.h"

#include <algorithm>
#include <bit>
#include <cstring>

#include "tests/unit/transport_pattern.h"

namespace tutti::transport::testing {
namespace {

constexpr uint32_t kSignature = 0x7e57'0000;

}  // namespace

Flow::Flow(FakeRank& from, FakeRank& to, const Options& options)
    : from_(from), to_(to), options_(options), referenced_(options.messages) {
  std::mt19937 rng(options.seed);
  for (uint64_t k = 0; k < options.messages; ++k) {
    const uint32_t dice = options.only_staged ? 50 : rng() % 100;
    const MessageKind kind = dice < 40   ? MessageKind::kInline
                             : dice < 75 ? MessageKind::kStaged
                                         : MessageKind::kMapped;
    const size_t most = kind == MessageKind::kInline ? kInlineBytes : options.layout.area_bytes;
    messages_.push_back({kind, rng() % 8 == 0 ? 0 : rng() % (most + 1)});
  }
  const std::lock_guard lock(from_.endpoint->mutex());
  network::Session& session = from_.with(to_.rank);
  sender_ =
      session.open({FakeRank::kCommId, from_.rank, to_.rank, options.channel}, options.layout);
  send_view_.attach(sender_->mirror.base(), options.layout, nullptr);
  from_.endpoint->begin(session);
}

std::string Flow::where() const {
  return std::to_string(from_.rank) + "->" + std::to_string(to_.rank) + " channel " +
         std::to_string(options_.channel) + ": " + std::to_string(options_.messages) +
         " messages, " + std::to_string(sent_) + " sent, " + std::to_string(taken_) + " taken, " +
         std::to_string(receive_view_.consumed) + " released, known " +
         std::to_string(send_view_.released);
}

bool Flow::send_one() {
  // acquire: pairs with SendStream::accept()
  if (sent_ == options_.messages || !sender_->accepted.load(std::memory_order_acquire))
    return false;
  free_released();
  const auto [kind, bytes] = messages_[sent_];
  if (kind == MessageKind::kInline) {
    if (!send_view_.line_free()) return false;
    std::byte* const line = send_view_.line().inline_bytes;
    fill_pattern(line, kInlineBytes, key(sent_));
    send_view_.commit(kSignature, kind);
  } else if (kind == MessageKind::kStaged) {
    if (!send_view_.area_free()) return false;
    fill_pattern(send_view_.area(bytes), bytes, key(sent_));
    send_view_.commit_staged(kSignature, bytes);
  } else {
    if (!send_view_.line_free()) return false;
    auto& memory = referenced_[sent_];
    memory.resize(bytes);
    fill_pattern(memory.data(), bytes, key(sent_));
    send_view_.commit_direct(kSignature, kind, {0, std::bit_cast<uint64_t>(memory.data()), bytes});
  }
  ++sent_;
  return true;
}

// What is read afterwards is not what was sent.
void Flow::free_released() {
  send_view_.refresh();
  for (; freed_ < send_view_.released; ++freed_) {
    std::ranges::fill(referenced_[freed_], std::byte{0xdd});
    std::vector<std::byte>().swap(referenced_[freed_]);
  }
}

bool Flow::try_accept() {
  if (receiver_ != nullptr) return true;
  const std::lock_guard lock(to_.endpoint->mutex());
  receiver_ =
      to_.with(from_.rank).take_offer({FakeRank::kCommId, from_.rank, to_.rank, options_.channel});
  if (receiver_ == nullptr) return false;
  receive_view_.attach(receiver_->mirror.base(), options_.layout, nullptr);
  return true;
}

const std::byte* Flow::bytes_of(uint64_t k) {
  const SlotLine& line = receive_view_.lines[k & (options_.layout.n_lines - 1)];
  switch (messages_[k].kind) {
    case MessageKind::kInline:
      return line.inline_bytes;
    case MessageKind::kStaged:
      return receive_view_.area(line.staged, messages_[k].bytes);
    default:
      return receiver_->locate(line.direct);
  }
}

void Flow::check(uint64_t k, const char* when) {
  const size_t bytes =
      messages_[k].kind == MessageKind::kInline ? kInlineBytes : messages_[k].bytes;
  const std::byte* const data = bytes_of(k);
  const bool right = data != nullptr && has_pattern(data, bytes, key(k));
  if (!right && wrong_.empty())
    wrong_ = "message " + std::to_string(k) + " has wrong bytes " + when + "; " + where();
}

bool Flow::take_one() {
  if (!try_accept() || taken_ == options_.messages ||
      taken_ - receive_view_.consumed == options_.layout.n_lines) {
    return false;
  }
  RecvView ahead = receive_view_;
  ahead.consumed = taken_;
  MessageKind kind{};
  const Peeked peeked = ahead.peek(kSignature, &kind);
  if (peeked == Peeked::kNothing) return false;
  if (peeked == Peeked::kMismatch || kind != messages_[taken_].kind) {
    wrong_ = "message " + std::to_string(taken_) + " is another; " + where();
    return false;
  }
  check(taken_++, "when it arrives");
  return true;
}

bool Flow::release_one() {
  if (receive_view_.consumed == taken_) return false;
  check(receive_view_.consumed, "when it is released");
  receive_view_.release();
  return true;
}

bool Flow::done() {
  free_released();
  return sent_ == options_.messages && receive_view_.consumed == sent_ && send_view_.drained();
}

}  // namespace tutti::transport::testing
