// SPDX-License-Identifier: Apache-2.0
// Plain system calls.
#include "perf/transfer/raw.h"

#include <poll.h>
#include <unistd.h>

#include <algorithm>
#include <bit>
#include <cerrno>
#include <cstring>
#include <stdexcept>

#include <arpa/inet.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <sys/socket.h>
#include <sys/uio.h>

namespace tutti::transfer_perf {
namespace {

constexpr size_t kPieceBytes = 256 << 10;
constexpr int kPatienceMs = 30'000;
constexpr size_t kMostVectors = 512;

[[noreturn]] void fail(const std::string& what) {
  throw std::runtime_error(what + ": " + std::strerror(errno));
}

void set_no_delay(int fd) {
  const int one = 1;
  (void)::setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
}

struct Order {
  char way = 0;  // 'w': the server receives; 'r': it sends
  char reserved[7] = {};
  uint64_t bytes = 0;
};

}  // namespace

Streams::~Streams() {
  for (const int fd : fds_) ::close(fd);
}

void Streams::connect(const std::string& address, int port, int sockets) {
  sockaddr_in to{};
  to.sin_family = AF_INET;
  to.sin_port = htons(static_cast<uint16_t>(port));
  if (::inet_pton(AF_INET, address.c_str(), &to.sin_addr) != 1)
    throw std::runtime_error(address + " is no IPv4 address");
  for (int i = 0; i < sockets; ++i) {
    const int fd = ::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (fd < 0) fail("no socket");
    fds_.push_back(fd);
    if (::connect(fd, reinterpret_cast<const sockaddr*>(&to), sizeof to) != 0)
      fail("can't connect to " + address);
    set_no_delay(fd);
  }
}

void Streams::send(const std::byte* data, size_t bytes) {
  move(const_cast<std::byte*>(data), bytes, true);
}
void Streams::receive(std::byte* data, size_t bytes) { move(data, bytes, false); }

void Streams::move(std::byte* data, size_t bytes, bool sending) {
  struct Part {
    size_t at, end;
  };
  std::vector<Part> parts;
  std::vector<pollfd> polls;
  const size_t n = fds_.size();
  for (size_t i = 0; i < n; ++i) {
    parts.push_back({bytes * i / n, bytes * (i + 1) / n});
    polls.push_back(
        {.fd = fds_[i], .events = static_cast<short>(sending ? POLLOUT : POLLIN), .revents = 0});
  }
  size_t left = bytes;
  while (left != 0) {
    bool moved = false;
    for (size_t i = 0; i < n; ++i) {
      const size_t piece = std::min(kPieceBytes, parts[i].end - parts[i].at);
      if (piece == 0) continue;
      std::byte* const at = data + parts[i].at;
      const ssize_t done = sending ? ::send(fds_[i], at, piece, MSG_DONTWAIT | MSG_NOSIGNAL)
                                   : ::recv(fds_[i], at, piece, MSG_DONTWAIT);
      if (done < 0 && (errno == EAGAIN || errno == EINTR)) continue;
      if (done <= 0) fail("the raw stream broke");
      parts[i].at += static_cast<size_t>(done);
      left -= static_cast<size_t>(done);
      moved = true;
    }
    for (size_t i = 0; i < n; ++i) polls[i].fd = parts[i].at == parts[i].end ? -1 : fds_[i];
    if (!moved && ::poll(polls.data(), polls.size(), kPatienceMs) <= 0)
      fail("the raw stream stands still");
  }
}

bool Streams::receive_order(char* way, uint64_t* bytes) {
  Order order;
  const ssize_t got = ::recv(fds_[0], &order, sizeof order, MSG_WAITALL);
  if (got != static_cast<ssize_t>(sizeof order)) return false;
  *way = order.way;
  *bytes = order.bytes;
  return true;
}

void Streams::send_order(char way, uint64_t bytes) {
  const Order order{.way = way, .bytes = bytes};
  if (::send(fds_[0], &order, sizeof order, MSG_NOSIGNAL) != static_cast<ssize_t>(sizeof order))
    fail("the raw stream broke");
}

StreamServer::StreamServer(int sockets) : sockets_(sockets) {
  listener_ = ::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
  sockaddr_in any{};
  any.sin_family = AF_INET;
  socklen_t bytes = sizeof any;
  if (listener_ < 0 || ::bind(listener_, reinterpret_cast<sockaddr*>(&any), sizeof any) != 0 ||
      ::listen(listener_, sockets) != 0 ||
      ::getsockname(listener_, reinterpret_cast<sockaddr*>(&any), &bytes) != 0) {
    fail("can't listen for the raw stream");
  }
  port_ = ntohs(any.sin_port);
  thread_ = std::thread([this] { serve(); });
}

StreamServer::~StreamServer() {
  (void)::shutdown(listener_, SHUT_RDWR);  // wakes accept()
  thread_.join();
  ::close(listener_);
}

void StreamServer::serve() {
  try {
    Streams streams;
    for (int i = 0; i < sockets_; ++i) {
      const int fd = ::accept4(listener_, nullptr, nullptr, SOCK_CLOEXEC);
      if (fd < 0) return;
      set_no_delay(fd);
      streams.adopt(fd);
    }
    std::vector<std::byte> memory;
    char way = 0;
    uint64_t bytes = 0;
    while (streams.receive_order(&way, &bytes)) {
      if (memory.size() < bytes) memory.resize(bytes);
      if (way == 'w') {
        streams.receive(memory.data(), bytes);
        streams.send_order('d', bytes);
      } else {
        streams.send(memory.data(), bytes);
      }
    }
  } catch (const std::runtime_error&) {
    // The other side has ended; it says why.
  }
}

bool copy_by_kernel(int pid, const std::vector<Pair>& pairs, bool writing) {
  for (size_t first = 0; first < pairs.size(); first += kMostVectors) {
    std::vector<iovec> here, there;
    size_t bytes = 0;
    for (size_t i = first; i < std::min(pairs.size(), first + kMostVectors); ++i) {
      here.push_back({pairs[i].here, pairs[i].bytes});
      there.push_back({std::bit_cast<void*>(pairs[i].there), pairs[i].bytes});
      bytes += pairs[i].bytes;
    }
    const ssize_t done =
        writing ? ::process_vm_writev(pid, here.data(), here.size(), there.data(), there.size(), 0)
                : ::process_vm_readv(pid, here.data(), here.size(), there.data(), there.size(), 0);
    if (done != static_cast<ssize_t>(bytes)) return false;
  }
  return true;
}

}  // namespace tutti::transfer_perf
