// SPDX-License-Identifier: Apache-2.0
// A path over a plugin: opening, frames, and its end.
#include "transport/nccl_net/link.h"

#include <algorithm>
#include <cstring>
#include <exception>
#include <utility>

#include "src/base/clock.h"
#include "src/base/log.h"
#include "transport/nccl_net/net_carrier.h"

namespace tutti::transport::nccl_net {
namespace {

constexpr uint32_t kGreetingMagic = 0x746e4754;  // "TGnt"
constexpr size_t kHeaderBytes = sizeof(MessageHeader) + sizeof(network::FrameHeader);
constexpr size_t kFirstBytes = kMessageBytes - kHeaderBytes;          // of a frame's payload
constexpr size_t kPartBytes = kMessageBytes - sizeof(MessageHeader);  // of it, in later messages
constexpr int64_t kLingerNs = 1 * kNsPerSecond;  // for a retired path's last messages

}  // namespace

Link::Link(NetCarrier& carrier, Plugin& plugin, int peer, int rail, bool dialled)
    : carrier_(carrier),
      plugin_(plugin),
      peer_(peer),
      rail_(rail),
      dialled_(dialled),
      sender_(plugin),
      receiver_(plugin) {}

Link::~Link() {
  if (back_listen_ != nullptr) plugin_.close_listen(back_listen_);
}

void Link::start_dial(const Handle& handle) {
  there_ = handle;
  knows_there_ = true;
  if (!plugin_.listen(carrier_.device_index(rail_), &back_, &back_listen_)) {
    back_listen_ = nullptr;
    throw Error(StatusCode::kSystemError, plugin_.last_error());
  }
}

void Link::offer_next(const Handle& next) noexcept { answer_ = {.has_next = 1, .next = next}; }

std::string Link::rail_name() const { return carrier_.device_name(rail_); }

std::string Link::describe() const {
  return fmt::format("nccl_net {} {} rank {} - rank {}{}", plugin_.name(),
                     carrier_.device_name(rail_), carrier_.rank(), peer_,
                     dialled_ ? " dialled" : " accepted");
}

// ---- opening

template <typename Body>
void Link::write(MessageKind kind, const Body& body) noexcept {
  std::byte* const into = sender_.begin();
  const MessageHeader header{kind, sizeof body};
  std::memcpy(into, &header, sizeof header);
  std::memcpy(into + sizeof header, &body, sizeof body);
  sender_.commit(sizeof header + sizeof body);
}

// Goes on with whatever of the two connections is not there yet.
void Link::open() noexcept {
  if (knows_there_ && !sender_.connected()) {
    if (!sender_.connect(carrier_.device_index(rail_), &there_)) {
      refused_ = plugin_.remote_error();
      fail("connecting: " + plugin_.last_error());
      return;
    }
    if (sender_.connected() && dialled_) carrier_.used_handle(peer_, rail_);
  }
  if (sender_.connected() && !introduced_) {
    if (dialled_) {
      write(MessageKind::kGreeting, Greeting{kGreetingMagic, carrier_.rank(), back_});
    } else {
      write(MessageKind::kAnswer, answer_);
    }
    introduced_ = true;
    state_ = State::kUp;
  }
  if (back_listen_ == nullptr || receiver_.connected()) return;
  void* comm = nullptr;
  if (!plugin_.accept(back_listen_, &comm)) {
    fail("accepting the way back: " + plugin_.last_error());
    return;
  }
  if (comm == nullptr) return;
  plugin_.close_listen(std::exchange(back_listen_, nullptr));
  if (!receiver_.adopt(comm)) fail("registering buffers: " + plugin_.last_error());
}

void Link::take_greeting(std::span<const std::byte> body) noexcept {
  Greeting greeting{};
  if (dialled_ || greeted_ || body.size() != sizeof greeting) {
    fail("a greeting that does not belong here");
    return;
  }
  std::memcpy(&greeting, body.data(), sizeof greeting);
  if (greeting.magic != kGreetingMagic || greeting.rank != peer_) {
    fail(fmt::format("a greeting of rank {} where rank {} was expected", greeting.rank, peer_));
    return;
  }
  there_ = greeting.back;
  knows_there_ = true;
  greeted_ = true;
  carrier_.greeted(*this);
}

void Link::take_answer(std::span<const std::byte> body) noexcept {
  Answer answer{};
  if (!dialled_ || greeted_ || body.size() != sizeof answer) {
    fail("an answer that does not belong here");
    return;
  }
  std::memcpy(&answer, body.data(), sizeof answer);
  greeted_ = true;
  if (answer.has_next != 0) carrier_.next_handle(peer_, rail_, answer.next);
}

// ---- frames

bool Link::send(const network::OutgoingFrame& frame) noexcept {
  const size_t bytes = frame.header.payload_bytes;
  if (state_ != State::kUp || unwritten_bytes_ > 0 || sender_.room() == 0) return false;
  const size_t first = std::min(bytes, kFirstBytes);
  try {
    tokens_.reserve(tokens_.size() + 1);
  } catch (const std::exception&) {
    return false;
  }
  std::byte* const into = sender_.begin();
  const MessageHeader header{MessageKind::kFrame,
                             static_cast<uint32_t>(sizeof frame.header + first)};
  std::memcpy(into, &header, sizeof header);
  std::memcpy(into + sizeof header, &frame.header, sizeof frame.header);
  if (first > 0) std::memcpy(into + kHeaderBytes, frame.payload, first);
  sender_.commit(kHeaderBytes + first);
  unwritten_ = frame.payload + first;
  unwritten_bytes_ = bytes - first;
  unwritten_token_ = frame.token;
  write_parts();
  // Leaves at once where the plugin lets it; turn() tells what is wrong.
  bool moved = false;
  if (!sender_.turn(&moved)) fail("sending: " + plugin_.last_error());
  return true;
}

// The rest of the current frame, as far as there is room.
void Link::write_parts() noexcept {
  while (unwritten_bytes_ > 0) {
    if (sender_.room() == 0) return;
    const size_t part = std::min(unwritten_bytes_, kPartBytes);
    std::byte* const into = sender_.begin();
    const MessageHeader header{MessageKind::kPart, static_cast<uint32_t>(part)};
    std::memcpy(into, &header, sizeof header);
    std::memcpy(into + sizeof header, unwritten_, part);
    sender_.commit(sizeof header + part);
    unwritten_ += part;
    unwritten_bytes_ -= part;
  }
  if (const uint64_t token = std::exchange(unwritten_token_, 0); token != 0)
    tokens_.push_back(token);  // room was made by send()
}

void Link::take_frame(std::span<const std::byte> body) noexcept {
  if (!greeted_ || missing_bytes_ > 0 || body.size() < sizeof current_) {
    fail("a frame that does not belong here");
    return;
  }
  std::memcpy(&current_, body.data(), sizeof current_);
  const std::span<const std::byte> payload = body.subspan(sizeof current_);
  if (payload.size() > current_.payload_bytes || current_.payload_bytes > kMaxPayloadBytes ||
      (current_.flags & network::kPlaced) != 0) {
    fail("a frame with a wrong size");
    return;
  }
  network::FrameSink& sink = path->sink();
  if (payload.size() == current_.payload_bytes) {
    sink.arrived(*path, current_, payload.empty() ? nullptr : payload.data());
    return;
  }
  into_ = sink.place(current_);
  missing_bytes_ = current_.payload_bytes;
  take_part(payload);
}

void Link::take_part(std::span<const std::byte> body) noexcept {
  if (body.size() > missing_bytes_) {
    fail("more of a frame's payload than announced");
    return;
  }
  if (into_ != nullptr) {
    std::memcpy(into_, body.data(), body.size());
    into_ += body.size();
  }
  missing_bytes_ -= body.size();
  if (missing_bytes_ == 0 && path != nullptr) path->sink().arrived(*path, current_, nullptr);
}

void Link::take(std::span<const std::byte> message) noexcept {
  MessageHeader header{};
  if (message.size() < sizeof header) {
    fail("a message without a header");
    return;
  }
  std::memcpy(&header, message.data(), sizeof header);
  const std::span<const std::byte> body = message.subspan(sizeof header);
  if (header.bytes != body.size()) {
    fail(fmt::format("a message of {} bytes that says {}", body.size(), header.bytes));
    return;
  }
  switch (header.kind) {
    case MessageKind::kGreeting:
      take_greeting(body);
      return;
    case MessageKind::kAnswer:
      take_answer(body);
      return;
    case MessageKind::kFrame:
      take_frame(body);
      return;
    case MessageKind::kPart:
      take_part(body);
      return;
    case MessageKind::kClose:
      fail("the peer has closed the path");
      return;
  }
  fail("a message of a kind that there is not");
}

void Link::receive(bool* moved) noexcept {
  if (!receiver_.connected()) return;
  for (int i = 0; i < 2 * kRing && state_ != State::kBroken; ++i) {
    // Nobody takes what comes for a path that its owner has destroyed, or that has none yet.
    // And what is handed over may want to be answered at once.
    if (greeted_ && (path == nullptr || state_ != State::kUp)) return;
    if (path == nullptr && dialled_) return;
    if (!receiver_.turn(moved)) {
      fail("receiving: " + plugin_.last_error());
      return;
    }
    bool broken = false;
    const std::span<const std::byte> message = receiver_.next(&broken);
    if (broken) {
      fail("receiving: " + plugin_.last_error());
      return;
    }
    if (message.empty()) return;
    take(message);
    receiver_.release();
    *moved = true;
  }
}

void Link::tell_tokens() noexcept {
  std::swap(tokens_, telling_);
  for (const uint64_t token : telling_) {
    if (path != nullptr) path->sink().sent(*path, token);
  }
  telling_.clear();
}

bool Link::turn() noexcept {
  bool moved = !tokens_.empty();
  if (state_ != State::kBroken) open();
  if (state_ == State::kUp) write_parts();
  tell_tokens();
  if (state_ != State::kBroken) receive(&moved);
  if (close_wanted_ && state_ == State::kUp && sender_.room() > 0) {
    write(MessageKind::kClose, uint64_t{0});
    close_wanted_ = false;
  }
  if (state_ != State::kBroken && sender_.connected() && !sender_.turn(&moved))
    fail("sending: " + plugin_.last_error());
  tell_broken();
  return moved;
}

// ---- the end

void Link::fail(const std::string& why) noexcept {
  if (state_ == State::kBroken) return;
  state_ = State::kBroken;
  try {
    why_ = fmt::format(
        "{}: {}; look whether that rank's process and the network of the plugin are "
        "up (TUTTI_LOG=transport=debug shows the plugin's words)",
        describe(), why);
  } catch (const std::exception&) {
    why_.clear();
  }
}

void Link::tell_broken() noexcept {
  if (state_ != State::kBroken || std::exchange(told_broken_, true)) return;
  sender_.close();
  receiver_.close();
  if (path != nullptr) path->sink().broken(*path, why_);
}

bool Link::sabotage() noexcept {
  if (state_ == State::kBroken) return false;
  fail("sabotaged on purpose");
  return true;
}

void Link::retire() noexcept {
  path = nullptr;
  retired_ns_ = now_ns();
  unwritten_token_ = 0;
  if (std::exchange(unwritten_bytes_, 0) > 0) {
    state_ = State::kBroken;  // the peer waits for the rest of a frame, which never comes
    told_broken_ = true;
    sender_.close();
    receiver_.close();
  }
  // A peer that does not know of the path need not be told.
  close_wanted_ = state_ != State::kBroken && (dialled_ ? introduced_ : greeted_);
}

bool Link::finished() const noexcept {
  if (path != nullptr || (!dialled_ && !greeted_ && state_ != State::kBroken)) return false;
  if (state_ == State::kBroken || (!close_wanted_ && sender_.idle())) return true;
  return now_ns() - retired_ns_ > kLingerNs;
}

}  // namespace tutti::transport::nccl_net
