// SPDX-License-Identifier: Apache-2.0
// Parts of a topology that bound how fast an AllReduce can be.
#pragma once

#include <vector>

#include "src/planner/forest/bound.h"

namespace tutti::planner {

// T >= 2 (p-1) n / sum of B-(P) for one unit of data per terminal and p disjoint parts that hold
// all terminals (and all switches that reduce). Parts are network nodes.
struct PartitionBound {
  Rational inverse_rate;
  std::vector<std::vector<int32_t>> parts;
};

// The best of: every terminal by itself; the parts that fill the bottleneck of AllGather (the
// smallest sets around terminals that receive no more than x* allows), which make the bound equal
// to that of ReduceScatter and AllGather one after the other where they cover all terminals; the
// two sides of AllGather's cut; the machines; the machines behind each leaf switch. AllGather's
// bound is `gather`.
PartitionBound all_reduce_bound(const FlowNetwork& network, const topology::Graph& graph,
                                const Bound& gather);

}  // namespace tutti::planner
