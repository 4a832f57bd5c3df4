// SPDX-License-Identifier: Apache-2.0
// Sockets with deadlines. Every descriptor is close-on-exec and non-blocking; waiting happens in
// poll().
#include "src/base/socket.h"

#include <poll.h>

#include <algorithm>
#include <cerrno>
#include <cstring>

#include <netinet/in.h>
#include <netinet/tcp.h>
#include <sys/socket.h>
#include <sys/uio.h>

#include "src/base/error.h"
#include "src/base/log.h"
#include "src/base/sockaddr.h"
#include "src/base/wait.h"

namespace tutti {
namespace {

constexpr int64_t kFirstBackoffNs = kNsPerMs;
constexpr int64_t kLastBackoffNs = 50 * kNsPerMs;
constexpr int kBacklog = 4096;  // the kernel takes less where it is set up so
constexpr size_t kLengthBytes = 4;
constexpr size_t kMaxDescriptors = std::tuple_size_v<decltype(Received::descriptors)>;

using NameCall = int (*)(int, sockaddr*, socklen_t*);  // getpeername or getsockname

SocketAddress address_of(int fd, NameCall call) {
  RawAddress raw;
  raw.bytes = sizeof raw.storage;
  if (call(fd, raw.get(), &raw.bytes) != 0) return {};
  return from_raw(raw);
}

// Who is at the other end, for messages.
std::string peer_text(int fd) {
  const SocketAddress peer = address_of(fd, ::getpeername);
  if (peer.family != SocketAddress::Family::kNone) return peer.to_string();
  ucred credentials{};
  socklen_t bytes = sizeof credentials;
  if (::getsockopt(fd, SOL_SOCKET, SO_PEERCRED, &credentials, &bytes) == 0 && credentials.pid > 0) {
    return "process " + std::to_string(credentials.pid);
  }
  return "a peer that is gone";
}

std::string seconds_text(int64_t ns) {
  const std::string digits = std::to_string((ns + kNsPerMs / 2) / kNsPerMs);
  const std::string padded = std::string(digits.size() < 4 ? 4 - digits.size() : 0, '0') + digits;
  return padded.substr(0, padded.size() - 3) + "." + padded.substr(padded.size() - 3) + " s";
}

[[noreturn]] void throw_timeout(const std::string& what, int64_t start_ns) {
  throw Error(StatusCode::kRemoteError,
              "gave up " + what + " after " + seconds_text(now_ns() - start_ns));
}

[[noreturn]] void throw_closed(int fd, const std::string& what) {
  throw Error(StatusCode::kRemoteError, peer_text(fd) + " closed the connection while " + what);
}

bool means_closed(int error_number) { return error_number == EPIPE || error_number == ECONNRESET; }
bool means_would_block(int error_number) {
  return error_number == EAGAIN || error_number == EWOULDBLOCK;
}

// False when the deadline expired first. Errors and hang-ups count as ready: the next call on fd
// reports them.
bool wait_ready(int fd, short events, Deadline deadline) {
  for (;;) {
    pollfd entry{.fd = fd, .events = events, .revents = 0};
    const int ready = ::poll(&entry, 1, deadline.left_ms());
    if (ready > 0) return true;
    if (ready < 0 && errno != EINTR) throw system_error("can't wait for a socket", errno);
    if (deadline.expired()) return false;
  }
}

int raw_type(const SocketAddress& address, SocketKind kind) {
  if (kind == SocketKind::kStream) return SOCK_STREAM;
  if (address.family != SocketAddress::Family::kUnixAbstract) {
    throw Error(
        StatusCode::kInvalidArgument,
        "packet sockets exist between abstract Unix addresses only, got " + address.to_string());
  }
  return SOCK_SEQPACKET;
}

FileDescriptor open_socket(const SocketAddress& address, SocketKind kind, const RawAddress& raw) {
  const int type = raw_type(address, kind) | SOCK_NONBLOCK | SOCK_CLOEXEC;
  FileDescriptor fd{::socket(raw.storage.ss_family, type, 0)};
  if (!fd) throw system_error("can't make a socket for " + address.to_string(), errno);
  return fd;
}

// Small messages leave at once. Fails harmlessly on Unix sockets.
void disable_nagle(int fd) {
  const int on = 1;
  ::setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
}

// The peer may not have bound yet, may have a full backlog, or may be restarting.
bool worth_retrying(int error_number) {
  return error_number == ECONNREFUSED || error_number == ENOENT || error_number == ECONNRESET ||
         error_number == ETIMEDOUT || error_number == ECONNABORTED ||
         means_would_block(error_number);
}

// A TCP connection to a free local port of the ephemeral range can meet itself.
bool is_self_connected(int fd, const SocketAddress& to) {
  if (to.family == SocketAddress::Family::kUnixAbstract) return false;
  const SocketAddress local = address_of(fd, ::getsockname);
  const SocketAddress peer = address_of(fd, ::getpeername);
  return local.port == peer.port && std::memcmp(local.ip, peer.ip, sizeof local.ip) == 0;
}

// 0, or the errno of this attempt. ETIMEDOUT when the deadline expired.
int try_connect(int fd, const SocketAddress& to, RawAddress& raw, Deadline deadline) {
  if (::connect(fd, raw.get(), raw.bytes) != 0) {
    if (errno != EINPROGRESS && errno != EINTR) return errno;
    if (!wait_ready(fd, POLLOUT, deadline)) return ETIMEDOUT;
    int error_number = 0;
    socklen_t bytes = sizeof error_number;
    if (::getsockopt(fd, SOL_SOCKET, SO_ERROR, &error_number, &bytes) != 0) return errno;
    if (error_number != 0) return error_number;
  }
  return is_self_connected(fd, to) ? ECONNREFUSED : 0;
}

void send_bytes(int fd, std::span<const std::byte> bytes, int flags, Deadline deadline) {
  const int64_t start_ns = now_ns();
  const size_t total = bytes.size();
  const auto what = [&] {
    return "sending " + std::to_string(total) + " bytes to " + peer_text(fd) + " (" +
           std::to_string(total - bytes.size()) + " sent)";
  };
  while (!bytes.empty()) {
    const ssize_t sent =
        ::send(fd, bytes.data(), bytes.size(), flags | MSG_NOSIGNAL | MSG_DONTWAIT);
    if (sent >= 0) {
      bytes = bytes.subspan(static_cast<size_t>(sent));
    } else if (means_would_block(errno)) {
      if (!wait_ready(fd, POLLOUT, deadline)) throw_timeout(what(), start_ns);
    } else if (means_closed(errno)) {
      throw_closed(fd, what());
    } else if (errno != EINTR) {
      throw system_error("failed " + what(), errno);
    }
  }
}

union ControlBuffer {
  cmsghdr aligned;
  char bytes[CMSG_SPACE(kMaxDescriptors * sizeof(int))];
};

// Owns every descriptor of a received message. The control buffer has room for two; the kernel
// drops further ones.
size_t take_descriptors(msghdr& message, std::array<FileDescriptor, kMaxDescriptors>& into) {
  size_t taken = 0;
  for (cmsghdr* part = CMSG_FIRSTHDR(&message); part != nullptr;
       part = CMSG_NXTHDR(&message, part)) {
    if (part->cmsg_level != SOL_SOCKET || part->cmsg_type != SCM_RIGHTS) continue;
    const size_t count = (part->cmsg_len - CMSG_LEN(0)) / sizeof(int);
    for (size_t i = 0; i < count; ++i) {
      int raw = -1;
      std::memcpy(&raw, CMSG_DATA(part) + i * sizeof(int), sizeof raw);
      FileDescriptor fd{raw};
      if (taken < into.size()) into[taken++] = std::move(fd);
    }
  }
  return taken;
}

}  // namespace

Socket Socket::connect(const SocketAddress& to, SocketKind kind, Deadline deadline) {
  const int64_t start_ns = now_ns();
  RawAddress raw = to_raw(to);
  int64_t backoff_ns = kFirstBackoffNs;
  for (int attempt = 1;; ++attempt) {
    FileDescriptor fd = open_socket(to, kind, raw);
    const int error_number = try_connect(fd.get(), to, raw, deadline);
    if (error_number == 0) {
      disable_nagle(fd.get());
      if (attempt > 1)
        log(LogLevel::kDebug, "bootstrap", -1, "connected to {} at attempt {}", to.to_string(),
            attempt);
      return Socket(std::move(fd));
    }
    if (!worth_retrying(error_number)) {
      throw system_error("can't connect to " + to.to_string(), error_number);
    }
    if (deadline.expired()) {
      throw_timeout("connecting to " + to.to_string() + " (" + strerrordesc_np(error_number) + ")",
                    start_ns);
    }
    sleep_ns(std::min(backoff_ns, deadline.left_ns()));
    backoff_ns = std::min(2 * backoff_ns, kLastBackoffNs);
  }
}

void Socket::send_all(std::span<const std::byte> bytes, Deadline deadline) {
  send_bytes(fd(), bytes, 0, deadline);
}

void Socket::receive_all(std::span<std::byte> bytes, Deadline deadline) {
  const int64_t start_ns = now_ns();
  const size_t total = bytes.size();
  const auto what = [&] {
    return "waiting for " + std::to_string(total) + " bytes from " + peer_text(fd()) + " (" +
           std::to_string(total - bytes.size()) + " came)";
  };
  while (!bytes.empty()) {
    const ssize_t received = ::recv(fd(), bytes.data(), bytes.size(), MSG_DONTWAIT);
    if (received > 0) {
      bytes = bytes.subspan(static_cast<size_t>(received));
    } else if (received == 0 || means_closed(errno)) {
      throw_closed(fd(), what());
    } else if (means_would_block(errno)) {
      if (!wait_ready(fd(), POLLIN, deadline)) throw_timeout(what(), start_ns);
    } else if (errno != EINTR) {
      throw system_error("failed " + what(), errno);
    }
  }
}

void Socket::send_message(std::span<const std::byte> payload, Deadline deadline) {
  if (payload.size() > UINT32_MAX) {
    throw Error(StatusCode::kInvalidArgument,
                "a message of " + std::to_string(payload.size()) +
                    " bytes is longer than its 32-bit length field allows");
  }
  std::array<std::byte, kLengthBytes> prefix{};
  for (size_t i = 0; i < kLengthBytes; ++i)
    prefix[i] = static_cast<std::byte>(payload.size() >> (8 * i));
  send_bytes(fd(), prefix, payload.empty() ? 0 : MSG_MORE, deadline);
  send_bytes(fd(), payload, 0, deadline);
}

std::vector<std::byte> Socket::receive_message(size_t max_bytes, Deadline deadline) {
  std::array<std::byte, kLengthBytes> prefix{};
  receive_all(prefix, deadline);
  size_t length = 0;
  for (size_t i = 0; i < kLengthBytes; ++i) length |= std::to_integer<size_t>(prefix[i]) << (8 * i);
  if (length > max_bytes) {
    throw Error(StatusCode::kRemoteError, peer_text(fd()) + " announced a message of " +
                                              std::to_string(length) + " bytes, expected at most " +
                                              std::to_string(max_bytes) +
                                              "; is it another program or another version?");
  }
  std::vector<std::byte> payload(length);
  receive_all(payload, deadline);
  return payload;
}

bool Socket::try_send_packet(std::span<const std::byte> bytes, std::span<const int> descriptors) {
  if (bytes.empty() || descriptors.size() > kMaxDescriptors) {
    throw Error(StatusCode::kInvalidArgument,
                "a packet needs at least one byte and at most two descriptors, got " +
                    std::to_string(bytes.size()) + " and " + std::to_string(descriptors.size()));
  }
  iovec part{.iov_base = const_cast<std::byte*>(bytes.data()), .iov_len = bytes.size()};
  msghdr message{.msg_iov = &part, .msg_iovlen = 1};
  ControlBuffer control{};
  if (!descriptors.empty()) {
    message.msg_control = control.bytes;
    message.msg_controllen = CMSG_SPACE(descriptors.size_bytes());
    cmsghdr* header = CMSG_FIRSTHDR(&message);
    header->cmsg_level = SOL_SOCKET;
    header->cmsg_type = SCM_RIGHTS;
    header->cmsg_len = CMSG_LEN(descriptors.size_bytes());
    std::memcpy(CMSG_DATA(header), descriptors.data(), descriptors.size_bytes());
  }
  while (::sendmsg(fd(), &message, MSG_NOSIGNAL | MSG_DONTWAIT) < 0) {
    if (errno == EINTR) continue;
    // ETOOMANYREFS: the user has too many descriptors in flight; receivers will take some.
    if (means_would_block(errno) || errno == ETOOMANYREFS) return false;
    const std::string what = "sending a packet of " + std::to_string(bytes.size()) + " bytes";
    if (means_closed(errno)) throw_closed(fd(), what);
    throw system_error("failed " + what + " to " + peer_text(fd()), errno);
  }
  return true;
}

std::optional<Received> Socket::try_receive_packet(std::span<std::byte> into) {
  iovec part{.iov_base = into.data(), .iov_len = into.size()};
  ControlBuffer control{};
  msghdr message{.msg_iov = &part,
                 .msg_iovlen = 1,
                 .msg_control = control.bytes,
                 .msg_controllen = sizeof control};
  ssize_t bytes = 0;
  while ((bytes = ::recvmsg(fd(), &message, MSG_CMSG_CLOEXEC | MSG_DONTWAIT)) < 0) {
    if (means_would_block(errno)) return std::nullopt;
    if (means_closed(errno)) return Received{};
    if (errno != EINTR)
      throw system_error("failed receiving a packet from " + peer_text(fd()), errno);
  }
  Received received{.bytes = static_cast<size_t>(bytes)};
  const size_t taken = take_descriptors(message, received.descriptors);
  if ((message.msg_flags & MSG_TRUNC) != 0) {
    throw Error(StatusCode::kRemoteError, peer_text(fd()) + " sent a packet of more than " +
                                              std::to_string(into.size()) +
                                              " bytes; is it another version?");
  }
  if ((message.msg_flags & MSG_CTRUNC) != 0 && taken < kMaxDescriptors) {
    throw Error(StatusCode::kSystemError,
                "a descriptor from " + peer_text(fd()) +
                    " could not be received; raise the limit of open files (ulimit -n)");
  }
  return received;
}

Socket::Credentials Socket::peer_credentials() const {
  ucred credentials{};
  socklen_t bytes = sizeof credentials;
  if (::getsockopt(fd(), SOL_SOCKET, SO_PEERCRED, &credentials, &bytes) != 0) {
    throw system_error("can't read the credentials of " + peer_text(fd()), errno);
  }
  if (credentials.pid == 0 && credentials.uid == UINT32_MAX) {
    throw Error(StatusCode::kInvalidUsage,
                "only peers of Unix sockets have credentials, not " + peer_text(fd()));
  }
  return {credentials.uid, credentials.pid};
}

SocketAddress Socket::local_address() const {
  RawAddress raw;
  raw.bytes = sizeof raw.storage;
  if (::getsockname(fd(), raw.get(), &raw.bytes) != 0) {
    throw system_error("can't read the own address of the connection to " + peer_text(fd()), errno);
  }
  return from_raw(raw);
}

Listener Listener::bind(const SocketAddress& at, SocketKind kind) {
  RawAddress raw = to_raw(at);
  Listener listener;
  listener.fd_ = open_socket(at, kind, raw);
  const int fd = listener.fd();
  const int on = 1;
  ::setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof on);
  if (::bind(fd, raw.get(), raw.bytes) != 0)
    throw system_error("can't bind " + at.to_string(), errno);
  if (::listen(fd, kBacklog) != 0) throw system_error("can't listen on " + at.to_string(), errno);
  listener.address_ = address_of(fd, ::getsockname);
  return listener;
}

std::optional<Socket> Listener::try_accept() {
  for (;;) {
    FileDescriptor fd{::accept4(fd_.get(), nullptr, nullptr, SOCK_NONBLOCK | SOCK_CLOEXEC)};
    if (fd) {
      disable_nagle(fd.get());
      return Socket(std::move(fd));
    }
    if (means_would_block(errno)) return std::nullopt;
    // A peer that gave up before it was accepted is not our failure.
    if (errno != EINTR && errno != ECONNABORTED) {
      throw system_error("can't accept a connection on " + address_.to_string(), errno);
    }
  }
}

std::optional<Socket> Listener::accept(Deadline deadline) {
  for (;;) {
    if (auto socket = try_accept()) return socket;
    if (!wait_ready(fd(), POLLIN, deadline)) return std::nullopt;
  }
}

}  // namespace tutti
