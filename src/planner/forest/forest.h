// SPDX-License-Identifier: Apache-2.0
// Throughput-optimal forests: spanning trees from every terminal that together fill the network's
// bottleneck (ForestColl, arXiv 2402.06787).
#pragma once

#include <cstdint>
#include <optional>
#include <vector>

#include "src/base/rational.h"
#include "src/planner/forest/bound.h"
#include "src/planner/forest/packing.h"

namespace tutti::planner {

struct Forest {
  int64_t trees_per_terminal = 1;  // k; each carries a k-th of its root's data
  Rational inverse_rate;           // time for one unit per terminal, as Bound::inverse_rate
  Wires wires;
  std::vector<Tree> trees;  // copies of those of one root add up to k
};

// The fastest forest with k trees per terminal, if it takes at most `slowest` time per unit.
// A tree has room for one of its kind where an arc of capacity c carries floor(c s) trees, so only
// s = m / c matter, and s can be bisected.
std::optional<Forest> forest_with(const FlowNetwork& network, int64_t k, const Rational& bound,
                                  const Rational& slowest);

// With as few trees as come within `share` (up to 1) of the bound: few trees make large messages
// and small plans. Exact where `share` is 1. Throws InternalError when none is found, which takes a
// network whose switches have different capacities in and out.
Forest forest_within(const FlowNetwork& network, const Rational& bound, double share);

}  // namespace tutti::planner
