// SPDX-License-Identifier: Apache-2.0
// What the cost model knows of a machine (docs/algorithms.md explains the terms).
#pragma once

#include <array>
#include <cstddef>
#include <optional>

namespace tutti::planner {

// Where the bytes lie that a rank touches in a call.
enum class WorkingSet : unsigned char { kL2, kL3, kMemory };
inline constexpr size_t kWorkingSets = 3;
using ByWorkingSet = std::array<double, kWorkingSets>;

// What lies between hosts. Of a host: all its rails together; of a rank: what its core does to send
// and to receive, once each.
struct NetworkParameters {
  double hop_ns = 0;            // until a message that has been sent is seen
  double message_ns = 0;        // of a core, to send or to receive a message
  double host_ns_per_byte = 0;  // of a host, in the busier direction
  double rank_ns_per_byte = 0;  // of a rank, both directions together
  bool operator==(const NetworkParameters&) const = default;
};
// TCP through the kernel at 25 Gb/s, and RDMA at 200 Gb/s: until somebody measures.
inline constexpr NetworkParameters kTcpNetwork{15000, 1500, 0.32, 0.25};
inline constexpr NetworkParameters kRdmaNetwork{2500, 200, 0.04, 0.01};

// Times in ns. The defaults are cautious, for cores that are far from each other; `tutti tune` fits
// them to the machine that it runs on.
struct CostParameters {
  double l2_bytes = 512 << 10;  // of a core
  double l3_bytes = 32 << 20;   // that the ranks share
  double call_ns = 40;          // of a call, whatever it does
  double hop_ns = 400;          // until a message that has been sent is seen
  double message_ns = 50;       // of a core, to send and to receive a message
  double switch_ns = 2500;      // until the peer runs, per rank that waits for the same core
  ByWorkingSet write_ns_per_byte{0.03, 0.06, 0.12};    // into slots and buffers
  ByWorkingSet read_ns_per_byte{0.0125, 0.025, 0.05};  // from slots and buffers
  std::optional<NetworkParameters> network;  // what was measured; nothing: by the transport
  bool operator==(const CostParameters&) const = default;
};

}  // namespace tutti::planner
