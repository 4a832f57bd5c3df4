// SPDX-License-Identifier: Apache-2.0
// Adds up latency, message handling, copies and reductions.
#include "src/planner/algorithms/cost.h"

#include <algorithm>
#include <cmath>

namespace tutti::planner {
namespace {

constexpr double kCheapStreams =
    16;  // more operands than this in one pass over memory lose the prefetcher

// Between two caches the rate goes from one to the other over a factor of 4 in size, so that two
// algorithms that touch nearly the same bytes cost nearly the same.
double rate(const ByWorkingSet& rates, const CostParameters& p, double own_bytes,
            double all_bytes) {
  const auto beyond = [](double bytes, double cache_bytes) {
    return std::clamp(std::log2(bytes / (cache_bytes / 2)) / 2, 0.0, 1.0);
  };
  const double l3 = beyond(std::max(own_bytes, 1.0), p.l2_bytes);
  const double memory = beyond(std::max(all_bytes, 1.0), p.l3_bytes);
  const double cached = rates[0] + l3 * (rates[1] - rates[0]);
  return cached + memory * (rates[2] - cached);
}

}  // namespace

double time_ns(const CostInput& input, const Work& work) {
  const CostParameters& p = input.parameters;
  const double ranks = input.hosts.several() ? input.hosts.most_ranks() : input.n_ranks;
  const double ranks_per_core = std::max(1.0, ranks / std::max(1, input.cores));
  const double hop_ns = p.hop_ns + (ranks_per_core > 1 ? p.switch_ns * ranks_per_core : 0);
  const double touched = work.written_bytes + work.read_bytes;
  const double wide = std::max(1.0, work.streams / kCheapStreams);
  const double bytes_ns =
      wide * (work.written_bytes * rate(p.write_ns_per_byte, p, touched, touched * ranks) +
              work.read_bytes * rate(p.read_ns_per_byte, p, touched, touched * ranks));
  return p.call_ns + work.hops * hop_ns +
         ranks_per_core * (work.messages * p.message_ns + bytes_ns);
}

}  // namespace tutti::planner
