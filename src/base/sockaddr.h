// SPDX-License-Identifier: Apache-2.0
// Between SocketAddress and the kernel's sockaddr, for code that makes sockets itself.
#pragma once

#include <sys/socket.h>

#include "src/base/socket.h"

namespace tutti {

struct RawAddress {
  sockaddr_storage storage{};
  socklen_t bytes = 0;
  sockaddr* get() noexcept { return reinterpret_cast<sockaddr*>(&storage); }
};

// Throws InvalidArgument for an address without a family or an abstract name without characters.
RawAddress to_raw(const SocketAddress& address);
// Family kNone for what a SocketAddress can't hold (Unix paths, unnamed peers).
SocketAddress from_raw(const RawAddress& raw) noexcept;

}  // namespace tutti
