// SPDX-License-Identifier: Apache-2.0
// The side channel's steps.
#include "transport/rdma/handshake.h"

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <utility>

#include <spdlog/fmt/fmt.h>

#include "src/base/error.h"
#include "src/base/stream.h"

namespace tutti::transport::rdma {
namespace {

template <typename Message>
std::span<const std::byte> bytes_of(const Message& message) {
  return std::as_bytes(std::span(&message, 1));
}
template <typename Message>
std::span<std::byte> room_for(Message& message) {
  return std::as_writable_bytes(std::span(&message, 1));
}

// All or nothing: messages are far smaller than a fresh socket's buffer.
bool send_whole(const Socket& socket, std::span<const std::byte> bytes) {
  return try_send(socket, bytes).bytes == bytes.size();
}

}  // namespace

WatchedSocket::WatchedSocket(Socket socket, PollSet& polls, uint64_t key, bool writing)
    : socket_(std::move(socket)), polls_(&polls) {
  polls.add(socket_.fd(), key, writing);
}

WatchedSocket& WatchedSocket::operator=(WatchedSocket&& other) noexcept {
  if (this != &other) {
    reset();
    socket_ = std::move(other.socket_);
    polls_ = std::exchange(other.polls_, nullptr);
  }
  return *this;
}

void WatchedSocket::reset() noexcept {
  if (polls_ != nullptr && socket_) polls_->remove(socket_.fd());
  polls_ = nullptr;
  socket_ = Socket();
}

void WatchedSocket::watch_as(uint64_t key, bool writing) {
  polls_->set_writing(socket_.fd(), key, writing);
}

Step Incoming::receive(const Socket& socket, std::span<std::byte> into, std::string* why) noexcept {
  while (got_ < into.size()) {
    const StreamResult result = try_receive(socket, into.subspan(got_));
    closed_ = result.closed || result.error_number == ECONNRESET;
    if (result.failed()) {
      *why = result.closed ? std::string("the peer closed the connection")
                           : error_text(result.error_number);
      return Step::kFailed;
    }
    if (result.bytes == 0) return Step::kWaiting;
    got_ += result.bytes;
  }
  return Step::kReady;
}

Visitor::Visitor(const Secret& secret, const QueuePairFacts& facts,
                 std::vector<SocketAddress> where, PollSet& polls, uint64_t key)
    : secret_(secret),
      facts_(facts),
      where_(std::move(where)),
      polls_(polls),
      key_(key),
      whole_(Deadline::after_ns(kHandshakeNs)),
      address_(Deadline::never()) {}

Step Visitor::fail(const std::string& why) {
  why_ = why;
  state_ = State::kFailed;
  socket_.reset();
  return Step::kFailed;
}

std::string Visitor::told(const char* when) const { return std::string(when) + ": " + reading_; }

Step Visitor::next_address(const std::string& why_not) {
  if (socket_) {
    why_ += fmt::format("{}{} ({})", why_.empty() ? "" : ", ", where_[at_].to_string(), why_not);
    socket_.reset();
    ++at_;
    incoming_.restart();
    state_ = State::kConnecting;
  }
  for (; at_ < where_.size(); ++at_) {
    try {
      socket_ = WatchedSocket(start_connecting(where_[at_]), polls_, key_, true);
      // The last one has all the time that is left.
      const bool others = at_ + 1 < where_.size();
      address_ = others ? Deadline::after_ns(kAddressNs) : Deadline::never();
      return Step::kWaiting;
    } catch (const Error& e) {
      why_ += std::string(why_.empty() ? "" : ", ") + e.what();
    }
  }
  return fail("the peer could not be reached at any of its addresses: " + why_ +
              "; TUTTI_SOCKET_IFNAME chooses the interfaces that ranks listen on");
}

Step Visitor::connecting() {
  if (!socket_) return next_address("");
  int error = 0;
  if (!is_connected(socket_.get(), &error)) {
    if (error == ECONNREFUSED) ++refusals_;
    if (error != 0) return next_address(error_text(error));
    return address_.expired() ? next_address("no answer") : Step::kWaiting;
  }
  socket_.watch_as(key_, false);
  state_ = State::kChallenge;
  return challenged();
}

Step Visitor::challenged() {
  const Step step = incoming_.receive(socket_.get(), room_for(challenge_), &reading_);
  if (step == Step::kFailed) return next_address(told("while waiting for its challenge"));
  if (step == Step::kWaiting) return step;
  if (std::memcmp(challenge_.magic, Challenge{}.magic, sizeof challenge_.magic) != 0)
    return next_address("it is not a rank of this version");
  visit_.nonce = random_nonce();
  visit_.facts = facts_;
  visit_.mac = prove(secret_, Speaker::kVisitor, challenge_.nonce, visit_.nonce, facts_);
  if (!send_whole(socket_.get(), bytes_of(visit_))) return next_address("its socket takes nothing");
  incoming_.restart();
  state_ = State::kAnswer;
  return Step::kWaiting;
}

Step Visitor::answered() {
  const Step step = incoming_.receive(socket_.get(), room_for(answer_), &reading_);
  if (step == Step::kFailed) return next_address(told("while waiting for its queue pair"));
  if (step == Step::kWaiting) return step;
  if (!proves(answer_.mac, secret_, Speaker::kHost, challenge_.nonce, visit_.nonce, answer_.facts))
    return next_address("it does not know this communicator's secret");
  std::string why;
  if (!plausible(answer_.facts, &why)) return fail("the peer says: " + why);
  state_ = State::kDone;
  return Step::kReady;
}

Step Visitor::step() noexcept {
  try {
    if (state_ == State::kDone) return Step::kReady;
    if (state_ == State::kFailed) return Step::kFailed;
    if (whole_.expired()) return fail("it took more than 10 s; is the peer's process stopped?");
    if (state_ == State::kConnecting) return connecting();
    return state_ == State::kChallenge ? challenged() : answered();
  } catch (const std::exception& e) {
    state_ = State::kFailed;
    why_ = e.what();
    return Step::kFailed;
  }
}

Host::Host(const Secret& secret, Socket socket, PollSet& polls, uint64_t key)
    : secret_(secret),
      socket_(std::move(socket), polls, key, false),
      whole_(Deadline::after_ns(kHandshakeNs)) {
  challenge_.nonce = random_nonce();
  if (!send_whole(socket_.get(), bytes_of(challenge_)))
    throw Error(StatusCode::kSystemError, "a fresh socket takes nothing");
}

Step Host::step() noexcept {
  try {
    if (whole_.expired()) {
      why_ = "a visitor said nothing for 10 s";
      return Step::kFailed;
    }
    const Step step = incoming_.receive(socket_.get(), room_for(visit_), &why_);
    if (step != Step::kReady) return step;
    if (!proves(visit_.mac, secret_, Speaker::kVisitor, challenge_.nonce, visit_.nonce,
                visit_.facts)) {
      why_ = "a visitor does not know this communicator's secret";
      return Step::kFailed;
    }
    return plausible(visit_.facts, &why_) ? Step::kReady : Step::kFailed;
  } catch (const std::exception& e) {
    why_ = e.what();
    return Step::kFailed;
  }
}

bool Host::answer(const QueuePairFacts& own) noexcept {
  const Answer answer{own, prove(secret_, Speaker::kHost, challenge_.nonce, visit_.nonce, own)};
  return send_whole(socket_.get(), bytes_of(answer));
}

}  // namespace tutti::transport::rdma
