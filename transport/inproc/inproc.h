// SPDX-License-Identifier: Apache-2.0
// The transport between ranks that are threads of one process: everything is an address.
#pragma once

#include <memory>

#include "transport/transport.h"

namespace tutti::transport {

std::unique_ptr<Transport> create_inproc(const TransportOptions& options);

}  // namespace tutti::transport
