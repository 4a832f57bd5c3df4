// SPDX-License-Identifier: Apache-2.0
// Non-blocking calls on TCP sockets.
#include "src/base/stream.h"

#include <poll.h>

#include <cerrno>

#include <netinet/in.h>
#include <netinet/tcp.h>
#include <sys/socket.h>

#include "src/base/error.h"
#include "src/base/sockaddr.h"

namespace tutti {
namespace {

StreamResult result_of(ssize_t count) noexcept {
  if (count >= 0) return {.bytes = static_cast<size_t>(count)};
  if (errno == EAGAIN || errno == EWOULDBLOCK || errno == EINTR) return {};
  return {.error_number = errno};
}

}  // namespace

Socket start_connecting(const SocketAddress& to) {
  RawAddress raw = to_raw(to);
  FileDescriptor fd{::socket(raw.storage.ss_family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0)};
  if (!fd) throw system_error("can't make a socket for " + to.to_string(), errno);
  const int on = 1;
  ::setsockopt(fd.get(), IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
  if (::connect(fd.get(), raw.get(), raw.bytes) != 0 && errno != EINPROGRESS && errno != EINTR)
    throw system_error("can't connect to " + to.to_string(), errno);
  return Socket(std::move(fd));
}

bool is_connected(const Socket& socket, int* error_number) noexcept {
  *error_number = 0;
  pollfd entry{.fd = socket.fd(), .events = POLLOUT, .revents = 0};
  if (::poll(&entry, 1, 0) <= 0) return false;
  socklen_t bytes = sizeof *error_number;
  if (::getsockopt(socket.fd(), SOL_SOCKET, SO_ERROR, error_number, &bytes) != 0)
    *error_number = errno;
  return *error_number == 0;
}

StreamResult try_send(const Socket& socket, std::span<const std::byte> bytes) noexcept {
  return result_of(::send(socket.fd(), bytes.data(), bytes.size(), MSG_NOSIGNAL | MSG_DONTWAIT));
}

StreamResult try_receive(const Socket& socket, std::span<std::byte> into) noexcept {
  const ssize_t count = ::recv(socket.fd(), into.data(), into.size(), MSG_DONTWAIT);
  if (count == 0 && !into.empty()) return {.closed = true};
  return result_of(count);
}

void watch_peer(const Socket& socket, int seconds) noexcept {
  constexpr int kProbes = 3;
  const int every = seconds / (kProbes + 1) > 0 ? seconds / (kProbes + 1) : 1;
  const int on = 1, silence_ms = seconds * 1000;
  ::setsockopt(socket.fd(), SOL_SOCKET, SO_KEEPALIVE, &on, sizeof on);
  ::setsockopt(socket.fd(), IPPROTO_TCP, TCP_KEEPIDLE, &every, sizeof every);
  ::setsockopt(socket.fd(), IPPROTO_TCP, TCP_KEEPINTVL, &every, sizeof every);
  ::setsockopt(socket.fd(), IPPROTO_TCP, TCP_KEEPCNT, &kProbes, sizeof kProbes);
  ::setsockopt(socket.fd(), IPPROTO_TCP, TCP_USER_TIMEOUT, &silence_ms, sizeof silence_ms);
}

}  // namespace tutti
