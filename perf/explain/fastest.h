// SPDX-License-Identifier: Apache-2.0
// A plan simulated with the size of slot that suits it best.
#pragma once

#include <cstdint>

#include "src/planner/forest/forest_plan.h"
#include "src/verify/simulator.h"

namespace tutti::command {

struct Fastest {
  uint64_t slot_bytes = 0;
  verify::SimulationResult simulated;
};

// Of a few sizes; of plans with many flows one is tried. `bytes`: of one block. Throws as
// verify::simulate() does.
Fastest simulate_fastest(const planner::PlacedPlan& placed, const topology::Graph& graph,
                         uint64_t bytes, verify::SimulationParameters parameters);

}  // namespace tutti::command
