// SPDX-License-Identifier: Apache-2.0
// Checks of what the planner is asked for; each throws InvalidArgument.
#pragma once

#include "src/planner/planner.h"

namespace tutti::planner {

// Ranks, root (0 where the collective has none) and channels are in range.
void check_request(const PlanRequest& request);
// The row is for this collective and supports the request.
void check_supported(const AlgorithmRow& row, const PlanRequest& request);

}  // namespace tutti::planner
