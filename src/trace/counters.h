// SPDX-License-Identifier: Apache-2.0
// A copy of what one recording has counted.
#pragma once

#include <array>
#include <cstdint>
#include <string>
#include <vector>

#include "src/trace/record.h"

namespace tutti::trace {

struct PeerCounters {
  int32_t peer = 0;
  std::string transport;  // "" while there is no connection
  std::array<uint64_t, kProtocols> sent_messages{}, sent_bytes{};
  std::array<uint64_t, kProtocols> received_messages{}, received_bytes{};
  uint64_t retries = 0, fallbacks = 0, waits = 0, waited_ns = 0;  // as PeerTraffic
};

struct CallTotals {
  uint64_t begun = 0, bytes = 0, failed = 0;  // as CallCounters
};

// Of one rank of one communicator.
struct Counters {
  uint64_t comm_id = 0;
  int32_t rank = 0;
  int32_t n_ranks = 1;
  int32_t pid = 0;
  std::string host, comm_name, program, job;
  CommState state = CommState::kOpen;
  uint64_t memory_bytes = 0, memory_peak_bytes = 0;
  std::array<CallTotals, kCallKinds> calls;  // by kind
  std::vector<PeerCounters> peers;           // with a connection, or waited for
};

}  // namespace tutti::trace
