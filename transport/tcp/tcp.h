// SPDX-License-Identifier: Apache-2.0
// Sockets as a transport between hosts.
#pragma once

#include <memory>

#include "transport/network/carrier.h"
#include "transport/transport.h"

namespace tutti::transport {

// Throws SystemError when this host has no network, or no port to listen at.
std::unique_ptr<Transport> create_tcp(const TransportOptions& options);

namespace tcp {
std::unique_ptr<network::Carrier> make_carrier(const TransportOptions& options);  // as above
}

}  // namespace tutti::transport
