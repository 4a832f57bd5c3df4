// SPDX-License-Identifier: Apache-2.0
// Adds up latency, message handling, copies and reductions.
#include "src/planner/algorithms/cost.h"

#include <algorithm>

namespace tutti::planner {
namespace {

constexpr double kSwitchNs = 2500;  // until the peer runs, per rank that waits for the same core
constexpr double kHandlingPerAlpha =
    1.0 / 8;  // a message's share of alpha that keeps the sender's core busy
constexpr double kCachedBytes = 256 << 10;  // up to here what a rank writes stays in its cache ...
constexpr double kCachedRate = 1.0 / 4;     // ... and costs this fraction
constexpr double kCheapStreams =
    16;  // more operands than this in one pass over memory lose the prefetcher

}  // namespace

double time_ns(const CostInput& input, const Work& work) {
  const double ranks_per_core =
      std::max(1.0, static_cast<double>(input.n_ranks) / std::max(1, input.cores));
  const double hop_ns = input.alpha_ns + (ranks_per_core > 1 ? kSwitchNs * ranks_per_core : 0);
  const double cached = work.written_bytes <= kCachedBytes ? kCachedRate : 1;
  const double wide = std::max(1.0, work.streams / kCheapStreams);
  const double bytes_ns =
      cached * wide *
      (input.beta_ns_per_byte * work.written_bytes + input.gamma_ns_per_byte * work.read_bytes);
  return work.hops * hop_ns +
         ranks_per_core * (work.messages * input.alpha_ns * kHandlingPerAlpha + bytes_ns);
}

}  // namespace tutti::planner
