// SPDX-License-Identifier: Apache-2.0
// Measures this machine and makes a profile of it.
#pragma once

#include <string>
#include <vector>

#include "perf/tune/points.h"
#include "src/planner/planner.h"
#include "src/planner/profile.h"

namespace tutti::command {

struct TuneOptions {
  std::vector<int> ranks{2, 4, 8};
  bool quick = false;  // few sizes, few rounds, no slots
  bool quiet = false;  // no progress
};
planner::Profile tune(const TuneOptions& options);

// Cores that n ranks here share, as profiles count them.
int shared_cores(int n_ranks);
// Sizes of a block from 8 bytes by `factor` up to a call of 32 MiB; {0} for Barrier.
std::vector<uint64_t> ladder(plan::Collective collective, int n_ranks, int factor);
// The rows that a call on so many ranks can choose from, in the order of the table.
std::vector<const planner::AlgorithmRow*> rows_for(plan::Collective collective, int n_ranks);
// What the planner is told of a call here; `profile` may be null, and must outlive it.
planner::CostInput cost_input(int n_ranks, uint64_t bytes, const planner::Profile* profile);

}  // namespace tutti::command
