// SPDX-License-Identifier: Apache-2.0
// What the cost model knows of a machine (docs/algorithms.md explains the terms).
#pragma once

#include <array>
#include <cstddef>

namespace tutti::planner {

// Where the bytes lie that a rank touches in a call.
enum class WorkingSet : unsigned char { kL2, kL3, kMemory };
inline constexpr size_t kWorkingSets = 3;
using ByWorkingSet = std::array<double, kWorkingSets>;

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
  bool operator==(const CostParameters&) const = default;
};

}  // namespace tutti::planner
