// SPDX-License-Identifier: Apache-2.0
// The transport between processes of one host: sealed memfds passed over a Unix socket.
#pragma once

#include <memory>

#include "transport/transport.h"

namespace tutti::transport {

std::unique_ptr<Transport> create_shm(const TransportOptions& options);

}  // namespace tutti::transport
