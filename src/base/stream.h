// SPDX-License-Identifier: Apache-2.0
// TCP connections for code that never waits: each call does what can be done now.
#pragma once

#include <cstddef>
#include <span>

#include "src/base/socket.h"

namespace tutti {

// What a call has done.
struct StreamResult {
  size_t bytes = 0;
  int error_number = 0;  // 0: in order; bytes == 0 then means "not now"
  bool closed = false;   // by the peer, nothing more will come
  bool failed() const noexcept { return error_number != 0 || closed; }
};

// Starts connecting. Throws SystemError when that fails at once.
Socket start_connecting(const SocketAddress& to);
// After start_connecting(): *error_number is 0 while it is in order. True when it is connected.
bool is_connected(const Socket& socket, int* error_number) noexcept;
StreamResult try_send(const Socket& socket, std::span<const std::byte> bytes) noexcept;
StreamResult try_receive(const Socket& socket, std::span<std::byte> into) noexcept;

// From now on the kernel asks an idle peer's machine whether it is there: about `seconds` after its
// last answer the connection fails with ETIMEDOUT.
void watch_peer(const Socket& socket, int seconds) noexcept;

}  // namespace tutti
