// SPDX-License-Identifier: Apache-2.0
// The alpha-beta-gamma cost of an algorithm from a handful of counts (docs/algorithms.md lists
// them).
#pragma once

#include "src/planner/planner.h"

namespace tutti::planner {

// What one collective costs a rank. Where ranks differ (rooted collectives), the mean: ranks of one
// host share its memory bandwidth, so what the root's neighbours leave idle the root can use.
struct Work {
  double hops = 0;           // messages on the longest chain of dependent ones
  double messages = 0;       // sent by a rank
  double written_bytes = 0;  // into slots and buffers
  double read_bytes = 0;     // from slots and buffers
  int32_t streams = 1;       // operands of the widest step
};

double time_ns(const CostInput& input, const Work& work);

}  // namespace tutti::planner
