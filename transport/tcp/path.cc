// SPDX-License-Identifier: Apache-2.0
// Writes and reads frames without ever waiting.
#include "transport/tcp/path.h"

#include <algorithm>
#include <array>
#include <cerrno>
#include <cstring>
#include <utility>

#include <linux/sockios.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <sys/uio.h>

#include "src/base/clock.h"
#include "src/base/error.h"
#include "src/base/sockaddr.h"

namespace tutti::transport::tcp {
namespace {

constexpr size_t kBufferBytes = 4096;  // small, so that most of a payload is read to its place
constexpr int kReadsPerServe = 16;     // then others have their turn

bool would_block(int error_number) noexcept {
  return error_number == EAGAIN || error_number == EWOULDBLOCK || error_number == EINTR;
}

void set_option(int fd, int level, int name, int value) noexcept {
  // Best effort: a kernel without it is slower to notice a dead link, or slower.
  (void)::setsockopt(fd, level, name, &value, sizeof value);
}

// When idle, the kernel breaks the connection if the other machine does not answer keep-alives. A
// stopped process's machine answers. While there is something to send, check_silence() looks:
// TCP_USER_TIMEOUT would break a connection to a process that is merely stopped, whose window is
// closed.
void watch_the_link(int fd, int silence_ms) noexcept {
  const int probes = 3;
  const int interval_s = std::max(1, silence_ms / 1000 / (probes + 1));
  set_option(fd, IPPROTO_TCP, TCP_NODELAY, 1);
  set_option(fd, SOL_SOCKET, SO_KEEPALIVE, 1);
  set_option(fd, IPPROTO_TCP, TCP_KEEPIDLE, interval_s);
  set_option(fd, IPPROTO_TCP, TCP_KEEPINTVL, interval_s);
  set_option(fd, IPPROTO_TCP, TCP_KEEPCNT, probes);
}

// One end's name; `get` is getsockname or getpeername. Asked while it is sure to have one.
std::string end_of(int fd, int (*get)(int, sockaddr*, socklen_t*)) {
  RawAddress raw;
  raw.bytes = sizeof raw.storage;
  return get(fd, raw.get(), &raw.bytes) == 0 ? from_raw(raw).to_string() : "?";
}

}  // namespace

TcpPath::TcpPath(FrameSink& sink, Place place, int silence_ms)
    : Path(sink),
      fd_(std::move(place.fd)),
      rail_(place.rail),
      interface_(std::move(place.interface)),
      name_("tcp " + interface_ + " " + end_of(fd_.get(), ::getsockname) + " - " +
            (place.to.empty() ? end_of(fd_.get(), ::getpeername) : place.to)),
      silence_ms_(silence_ms),
      connecting_(place.connecting),
      buffer_(std::make_unique<std::byte[]>(kBufferBytes)) {
  watch_the_link(fd_.get(), silence_ms);
}

TcpPath::~TcpPath() {
  // What the kernel still has to send, it does not try for minutes.
  set_option(fd_.get(), IPPROTO_TCP, TCP_USER_TIMEOUT, silence_ms_);
  if (forget_ != nullptr) forget_(carrier_, *this);
}

std::string TcpPath::describe() const { return name_; }

void TcpPath::break_down(const std::string& why) noexcept {
  if (std::exchange(broken_, true)) return;
  head_ = body_ = {};
  sink().broken(*this, why);
}

bool TcpPath::sabotage() noexcept { return ::shutdown(fd_.get(), SHUT_RDWR) == 0; }

void TcpPath::check_silence(int64_t now) noexcept {
  int unacknowledged = 0;
  if (broken_ || connecting_ || ::ioctl(fd_.get(), SIOCOUTQ, &unacknowledged) != 0) return;
  const uint64_t delivered = handed_bytes_ - static_cast<uint64_t>(unacknowledged);
  if (unacknowledged == 0 || delivered != seen_delivered_ || waiting_since_ns_ == 0) {
    seen_delivered_ = delivered;
    waiting_since_ns_ = unacknowledged == 0 ? 0 : now;
    return;
  }
  const int64_t silence_ns = now - waiting_since_ns_;
  if (silence_ns < silence_ms_ * kNsPerMs) return;
  tcp_info info{};
  socklen_t n = sizeof info;
  if (::getsockopt(fd_.get(), IPPROTO_TCP, TCP_INFO, &info, &n) != 0) return;
  // Nothing is on its way when the receiver's window is closed. That is probed, at longer and
  // longer intervals: silent is who leaves two unanswered.
  const bool probed_in_vain =
      info.tcpi_probes >= 2 && info.tcpi_last_ack_recv >= static_cast<uint32_t>(silence_ms_);
  if (info.tcpi_unacked == 0 && !probed_in_vain) return;
  break_down("the other machine has acknowledged nothing for " +
             std::to_string(silence_ns / kNsPerMs) + " ms");
}

bool TcpPath::encrypt(const Key& send_key, const Key& receive_key) noexcept {
  sealer_.emplace(send_key);
  opener_.emplace(receive_key);
  return true;
}

// Sending

size_t TcpPath::backlog_bytes() const noexcept {
  int unacknowledged = 0;
  if (::ioctl(fd_.get(), SIOCOUTQ, &unacknowledged) != 0) unacknowledged = 0;
  return head_.bytes + body_.bytes + static_cast<size_t>(unacknowledged);
}

uint64_t TcpPath::delivered_bytes() const noexcept {
  int unacknowledged = 0;
  if (::ioctl(fd_.get(), SIOCOUTQ, &unacknowledged) != 0) return 0;
  return handed_bytes_ - static_cast<uint64_t>(unacknowledged);
}

bool TcpPath::has_unsent() const noexcept { return !broken_ && has_pending(); }

// Into `sealed_`: header, tag, payload, tag.
void TcpPath::seal_frame(const OutgoingFrame& frame) {
  const size_t bytes = frame.header.payload_bytes;
  sealed_.resize(header_bytes() + (bytes != 0 ? bytes + kTagBytes : 0));
  sealer_->close(reinterpret_cast<const std::byte*>(&frame.header), sizeof frame.header,
                 sealed_.data());
  if (bytes != 0) sealer_->close(frame.payload, bytes, sealed_.data() + header_bytes());
}

bool TcpPath::send(const OutgoingFrame& frame) noexcept {
  if (broken_ || connecting_) return false;
  if (has_pending() && !flush()) {
    refused_room_ = true;
    return false;
  }
  token_ = frame.token;
  more_ = frame.more;
  if (sealer_.has_value()) {
    seal_frame(frame);
    head_ = {sealed_.data(), sealed_.size()};
    body_ = {};
  } else {
    header_ = frame.header;
    head_ = {reinterpret_cast<const std::byte*>(&header_), sizeof header_};
    body_ = {frame.payload, frame.header.payload_bytes};
  }
  (void)flush();
  return !broken_;
}

// True when nothing is left.
bool TcpPath::flush() noexcept {
  while (has_pending()) {
    std::array<iovec, 2> parts{{{const_cast<std::byte*>(head_.data), head_.bytes},
                                {const_cast<std::byte*>(body_.data), body_.bytes}}};
    msghdr message{};
    message.msg_iov = parts.data();
    message.msg_iovlen = parts.size();
    const ssize_t n =
        ::sendmsg(fd_.get(), &message, MSG_NOSIGNAL | MSG_DONTWAIT | (more_ ? MSG_MORE : 0));
    held_back_ = more_;
    if (n < 0) {
      if (would_block(errno)) return false;
      break_down(std::string("sending failed: ") + std::strerror(errno));
      return false;
    }
    auto sent = static_cast<size_t>(n);
    handed_bytes_ += sent;
    for (Span* part : {&head_, &body_}) {
      const size_t taken = std::min(sent, part->bytes);
      part->data += taken;
      part->bytes -= taken;
      sent -= taken;
    }
  }
  if (const uint64_t token = std::exchange(token_, 0); token != 0) sink().sent(*this, token);
  return true;
}

// Setting the option anew sends what the kernel holds back.
void TcpPath::push() noexcept {
  more_ = false;
  if (std::exchange(held_back_, false)) set_option(fd_.get(), IPPROTO_TCP, TCP_NODELAY, 1);
}

// Receiving

bool TcpPath::finish_connecting() noexcept {
  int error_number = 0;
  socklen_t n = sizeof error_number;
  if (::getsockopt(fd_.get(), SOL_SOCKET, SO_ERROR, &error_number, &n) != 0) error_number = errno;
  sockaddr_storage peer{};
  socklen_t m = sizeof peer;
  if (error_number == 0 && ::getpeername(fd_.get(), reinterpret_cast<sockaddr*>(&peer), &m) != 0) {
    return false;  // still on its way
  }
  connecting_ = false;
  if (error_number == 0) return true;
  connection_refused_ = error_number == ECONNREFUSED;
  break_down(std::string("connecting failed: ") + std::strerror(error_number));
  return false;
}

bool TcpPath::serve() noexcept {
  if (broken_) return false;
  if (connecting_ && !finish_connecting()) return broken_;
  const bool had_to_write = refused_room_ || has_pending();
  if (has_pending() && !flush()) return receive() || broken_;
  refused_room_ = false;
  return receive() || had_to_write;
}

bool TcpPath::receive() noexcept {
  bool moved = false;
  for (int i = 0; i < kReadsPerServe && !broken_; ++i) {
    while (!broken_ && take_buffered()) moved = true;
    if (broken_) break;
    // What the buffer holds now is less than a header.
    const size_t held = buffered_to_ - buffered_from_;
    std::memmove(buffer_.get(), buffer_.get() + buffered_from_, held);
    buffered_from_ = 0;
    buffered_to_ = held;
    std::byte* const direct =
        in_payload_ ? (opener_.has_value() ? ciphertext_.data() : into_) : nullptr;
    std::array<iovec, 2> parts{};
    size_t n_parts = 0;
    if (direct != nullptr) parts[n_parts++] = {direct + payload_done_, payload_left_};
    parts[n_parts++] = {buffer_.get() + buffered_to_, kBufferBytes - buffered_to_};
    msghdr message{};
    message.msg_iov = parts.data();
    message.msg_iovlen = n_parts;
    const ssize_t n = ::recvmsg(fd_.get(), &message, MSG_DONTWAIT);
    if (n < 0 && would_block(errno)) break;
    if (n <= 0) {
      break_down(n == 0 ? "the peer closed the connection"
                        : std::string("receiving failed: ") + std::strerror(errno));
      return true;
    }
    moved = true;
    auto got = static_cast<size_t>(n);
    if (direct != nullptr) {
      const size_t placed = std::min(got, payload_left_);
      payload_done_ += placed;
      payload_left_ -= placed;
      got -= placed;
    }
    buffered_to_ += got;
    if (in_payload_ && payload_left_ == 0 && !end_frame()) return true;
    if (direct != nullptr && got == 0 && in_payload_) break;  // a short read: nothing more is there
  }
  // What the last read has left in the buffer may be all that comes: the socket would not tell.
  while (!broken_ && take_buffered()) moved = true;
  return moved;
}

// Takes a header, or a piece of a payload, out of the buffer; false when there is none.
bool TcpPath::take_buffered() noexcept {
  const size_t held = buffered_to_ - buffered_from_;
  if (in_payload_) {
    const size_t piece = std::min(held, payload_left_);
    if (piece == 0) return false;
    std::byte* const to = opener_.has_value() ? ciphertext_.data() : into_;
    if (to != nullptr) std::memcpy(to + payload_done_, buffer_.get() + buffered_from_, piece);
    buffered_from_ += piece;
    payload_done_ += piece;
    payload_left_ -= piece;
    return payload_left_ != 0 || end_frame();
  }
  if (held < header_bytes()) return false;
  return begin_frame();
}

bool TcpPath::begin_frame() noexcept {
  std::byte* const at = buffer_.get() + buffered_from_;
  const size_t taken = header_bytes();
  if (opener_.has_value()) {
    if (!opener_->open(at, sizeof arriving_, reinterpret_cast<std::byte*>(&arriving_))) {
      break_down("a frame is not what was sealed: damaged or forged");
      return false;
    }
  } else {
    std::memcpy(&arriving_, at, sizeof arriving_);
  }
  buffered_from_ += taken;
  if (arriving_.payload_bytes > kMaxPayload) {
    break_down("a frame of " + std::to_string(arriving_.payload_bytes) + " bytes came; at most " +
               std::to_string(kMaxPayload) + " are allowed");
    return false;
  }
  if (arriving_.payload_bytes == 0) {
    sink().arrived(*this, arriving_, nullptr);
    return !broken_;
  }
  begin_payload();
  return true;
}

void TcpPath::begin_payload() noexcept {
  in_payload_ = true;
  payload_done_ = 0;
  payload_left_ = arriving_.payload_bytes;
  into_ = sink().place(arriving_);
  if (!opener_.has_value()) return;
  payload_left_ += kTagBytes;
  if (ciphertext_.size() < payload_left_) ciphertext_.resize(payload_left_);
}

// False when the path is broken.
bool TcpPath::end_frame() noexcept {
  in_payload_ = false;
  if (opener_.has_value()) {
    std::byte* const to = into_ != nullptr ? into_ : ciphertext_.data();
    if (!opener_->open(ciphertext_.data(), arriving_.payload_bytes, to)) {
      break_down("a payload is not what was sealed: damaged or forged");
      return false;
    }
  }
  sink().arrived(*this, arriving_, nullptr);
  return !broken_;
}

}  // namespace tutti::transport::tcp
