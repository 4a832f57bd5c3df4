// SPDX-License-Identifier: Apache-2.0
// Makes a transport out of a carrier.
#pragma once

#include <memory>

#include "transport/network/carrier.h"
#include "transport/transport.h"

namespace tutti::transport::network {

// Throws InvalidUsage when TUTTI_ENCRYPT is set and the carrier can't encrypt.
std::unique_ptr<Transport> make_network_transport(const TransportOptions& options,
                                                  std::unique_ptr<Carrier> carrier);

// For tests and fault injection: breaks the n-th open path to the peer, as the outside world would.
// False when there is none, or `transport` is no network. Any thread.
bool sabotage_path(Transport& transport, int peer, size_t nth) noexcept;

}  // namespace tutti::transport::network
