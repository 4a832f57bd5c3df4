// SPDX-License-Identifier: Apache-2.0
// Networks that UCX reaches (InfiniBand, RoCE, TCP, shared memory), through its active messages and
// puts.
#pragma once

#include <memory>
#include <string>

#include "transport/network/carrier.h"
#include "transport/transport.h"

namespace tutti::transport {

// Throws Error when UCX is not there, too old or finds no device; or when the library was built
// without UCX's headers.
std::unique_ptr<network::Carrier> make_ucx_carrier(const TransportOptions& options);

}  // namespace tutti::transport
