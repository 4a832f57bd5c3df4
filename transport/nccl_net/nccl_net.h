// SPDX-License-Identifier: Apache-2.0
// Networks that an existing NCCL net plugin reaches.
#pragma once

#include <memory>

#include "transport/network/carrier.h"
#include "transport/transport.h"

namespace tutti::transport {

// Throws Error when there is no plugin that works here, saying why.
std::unique_ptr<network::Carrier> make_nccl_net_carrier(const TransportOptions& options);

}  // namespace tutti::transport
