// SPDX-License-Identifier: Apache-2.0
// RDMA by verbs: InfiniBand, RoCE and iWARP (docs/design/rdma.md).
#pragma once

#include <memory>

#include "transport/network/carrier.h"
#include "transport/transport.h"

namespace tutti::transport {

// Throws Error with the reason when there is no library, no device, no active port or no GID.
std::unique_ptr<Transport> create_rdma(const TransportOptions& options);

namespace rdma {
std::unique_ptr<network::Carrier> make_carrier(const TransportOptions& options);  // as above
}

}  // namespace tutti::transport
