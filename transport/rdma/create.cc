// SPDX-License-Identifier: Apache-2.0
// The rdma row of the registry.
#include "transport/network/network.h"
#include "transport/rdma/rdma.h"

namespace tutti::transport {

std::unique_ptr<Transport> create_rdma(const TransportOptions& options) {
  return network::make_network_transport(options, rdma::make_carrier(options));
}

}  // namespace tutti::transport
