// SPDX-License-Identifier: Apache-2.0
// A plan that the library does not make: several lanes that wait for each other, over scratch.
#pragma once

#include <memory>
#include <string>

#include "src/planner/planner.h"

namespace tutti::sim {

// AllReduce over rank 0: one lane per peer receives into scratch, another waits for all and sends
// what they add up to.
struct StarPlan {
  std::string file;  // what TUTTI_PLAN_FILE names: memory of this process
  std::shared_ptr<const planner::VerifiedPlan> plan;
};
// Made once per process and number of ranks.
const StarPlan& star_plan(int n_ranks);

}  // namespace tutti::sim
