// SPDX-License-Identifier: Apache-2.0
// Stream and sequenced-packet sockets with deadlines: TCP for rendezvous, Unix for passing
// descriptors on one host.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "src/base/clock.h"
#include "src/base/file.h"

namespace tutti {

// An address that a rank can connect to. Text forms: "1.2.3.4:567", "[::1]:567", "@name" (abstract
// Unix).
struct SocketAddress {
  enum class Family : uint8_t { kNone, kIpv4, kIpv6, kUnixAbstract };
  Family family = Family::kNone;
  uint16_t port = 0;      // host byte order
  uint8_t ip[16] = {};    // network byte order; 4 bytes used for IPv4
  uint32_t scope_id = 0;  // IPv6 link-local interface index
  char name[64] = {};     // abstract Unix name without the leading NUL, NUL-terminated

  std::string to_string() const;
  static SocketAddress parse(const std::string& text);  // throws InvalidArgument
};

// Whether TUTTI_SOCKET_IFNAME chooses the interface `name`: `choice` has beginnings of names, or
// whole names behind a =, with commas between them; with ^ in front all others are chosen. Empty:
// any.
bool interface_chosen(std::string_view choice, std::string_view name) noexcept;
// Addresses of this host's interfaces that are up and chosen: IPv4 before IPv6, loopback last.
// Throws SystemError when there is none.
std::vector<SocketAddress> local_addresses(const std::string& choice);
// The address that a host's name or numeric address stands for, preferred by the system's resolver.
// Throws InvalidArgument with the resolver's reason.
SocketAddress resolve(const std::string& host, uint16_t port);
bool is_loopback(const SocketAddress& address) noexcept;

enum class SocketKind : uint8_t { kStream, kSequencedPacket };

struct Received {
  size_t bytes = 0;                           // 0: the peer closed the connection
  std::array<FileDescriptor, 2> descriptors;  // came with the packet; further ones are closed
};

// A connected socket. Blocking calls take a deadline and throw RemoteError when it expires
// (message: what was waited for, and for how long) or when the peer closes.
class Socket {
 public:
  Socket() noexcept = default;
  explicit Socket(FileDescriptor fd) noexcept : fd_(std::move(fd)) {}
  // Retries until the deadline while nobody listens; other failures throw SystemError at once.
  static Socket connect(const SocketAddress& to, SocketKind kind, Deadline deadline);
  int fd() const noexcept { return fd_.get(); }
  FileDescriptor take() noexcept { return std::move(fd_); }  // the socket is empty afterwards
  explicit operator bool() const noexcept { return static_cast<bool>(fd_); }

  void send_all(std::span<const std::byte> bytes, Deadline deadline);
  void receive_all(std::span<std::byte> bytes, Deadline deadline);
  // Length-prefixed messages over a stream: u32 little-endian length, then the payload. Throws when
  // the length is above max.
  void send_message(std::span<const std::byte> payload, Deadline deadline);
  std::vector<std::byte> receive_message(size_t max_bytes, Deadline deadline);

  // One packet with at most two descriptors; false when the socket's buffer is full (nothing was
  // sent).
  bool try_send_packet(std::span<const std::byte> bytes, std::span<const int> descriptors = {});
  // nullopt when nothing is there.
  std::optional<Received> try_receive_packet(std::span<std::byte> into);

  // User id and pid of the peer of a Unix socket.
  struct Credentials {
    uint32_t uid;
    int32_t pid;
  };
  Credentials peer_credentials() const;
  // This end's address. Throws SystemError.
  SocketAddress local_address() const;

 private:
  FileDescriptor fd_;
};

// A listening socket, non-blocking.
class Listener {
 public:
  Listener() noexcept = default;
  // port 0 picks a free one. Throws SystemError with the address in the message when it is taken.
  static Listener bind(const SocketAddress& at, SocketKind kind);
  const SocketAddress& address() const noexcept { return address_; }
  int fd() const noexcept { return fd_.get(); }
  std::optional<Socket> try_accept();
  // Waits; nullopt when the deadline expires.
  std::optional<Socket> accept(Deadline deadline);

 private:
  FileDescriptor fd_;
  SocketAddress address_;
};

}  // namespace tutti
