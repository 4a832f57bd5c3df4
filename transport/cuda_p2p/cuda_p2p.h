// SPDX-License-Identifier: Apache-2.0
// The transport between ranks of one host with GPUs that reach each other's memory (docs/adr/0011).
#pragma once

#include <memory>

#include "transport/transport.h"

namespace tutti::transport {

// Throws InvalidUsage when the rank has no GPU, UnhandledCudaError when it can't be used.
std::unique_ptr<Transport> create_cuda_p2p(const TransportOptions& options);

}  // namespace tutti::transport
