// SPDX-License-Identifier: Apache-2.0
// The table of transports.
#include <array>

#include "transport/cuda_p2p/cuda_p2p.h"
#include "transport/inproc/inproc.h"
#include "transport/nccl_net/nccl_net.h"
#include "transport/network/network.h"
#include "transport/rdma/rdma.h"
#include "transport/shm/shm.h"
#include "transport/tcp/tcp.h"
#include "transport/transport.h"
#include "transport/ucx/ucx.h"

namespace tutti::transport {
namespace {

std::unique_ptr<Transport> create_ucx(const TransportOptions& options) {
  return network::make_network_transport(options, make_ucx_carrier(options));
}
std::unique_ptr<Transport> create_nccl_net(const TransportOptions& options) {
  return network::make_network_transport(options, make_nccl_net_carrier(options));
}

}  // namespace

std::span<const TransportRow> transport_table() {
  static constexpr std::array kRows{
      TransportRow{"cuda_p2p", "between GPUs of one host that reach each other's memory",
                   create_cuda_p2p, false, false, true},
      TransportRow{"inproc", "between ranks that are threads of one process", create_inproc},
      TransportRow{"shm", "between processes of one host, through memory that both map",
                   create_shm},
      // Who names one of these two wants it, so they come before what is there anyway.
      TransportRow{"nccl_net", "between hosts, through a net plugin made for NCCL", create_nccl_net,
                   true, true},
      TransportRow{"ucx", "between hosts, through UCX", create_ucx, true, true},
      TransportRow{"rdma", "between hosts, through InfiniBand, RoCE or iWARP adapters", create_rdma,
                   true},
      TransportRow{"tcp", "between hosts, through sockets", create_tcp, true},
  };
  return kRows;
}

}  // namespace tutti::transport
