// SPDX-License-Identifier: Apache-2.0
// The table of transports.
#include <array>

#include "transport/inproc/inproc.h"
#include "transport/shm/shm.h"
#include "transport/transport.h"

namespace tutti::transport {

std::span<const TransportRow> transport_table() {
  static constexpr std::array kRows{
      TransportRow{"inproc", "between ranks that are threads of one process", create_inproc},
      TransportRow{"shm", "between processes of one host, through memory that both map",
                   create_shm},
  };
  return kRows;
}

}  // namespace tutti::transport
