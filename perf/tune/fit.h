// SPDX-License-Identifier: Apache-2.0
// The cost model's parameters from measured times.
#pragma once

#include <vector>

#include "src/planner/profile.h"

namespace tutti::command {

// Those with which the model comes nearest to the curves, by the mean square of the logarithm of
// predicted / measured, from `start` on; its sizes of caches stay. A pure function.
planner::CostParameters fit(const std::vector<planner::Curve>& curves,
                            const planner::CostParameters& start);
// Geometric mean of max(predicted / measured, measured / predicted); 1 is perfect.
double mean_error(const std::vector<planner::Curve>& curves,
                  const planner::CostParameters& parameters);

}  // namespace tutti::command
