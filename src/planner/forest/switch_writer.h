// SPDX-License-Identifier: Apache-2.0
// Writes the steps of plans whose levels are served by switches, or go one to one.
#pragma once

#include <cstdint>
#include <vector>

#include "src/plan/plan.h"
#include "src/planner/forest/forest_plan.h"

namespace tutti::planner {

// Ranks by box and place, boxes of equal sizes. One box holds all where there is one level.
struct SwitchLevels {
  std::vector<std::vector<int32_t>> boxes;
  bool box_by_switch = true;
  bool rails_by_switch = false;  // ranks in equal places of all boxes

  int32_t n_boxes() const { return static_cast<int32_t>(boxes.size()); }
  int32_t n_places() const { return static_cast<int32_t>(boxes.front().size()); }
};

// AllReduce, ReduceScatter or AllGather; chunk e is rank e's. Several boxes have several places.
// 2 (places - 1) messages of each chunk in each box, each way, and boxes - 1 between boxes, each
// way.
plan::Plan switch_plan(const char* algorithm, plan::Collective collective,
                       const SwitchLevels& levels, const PlanBudget& budget);

}  // namespace tutti::planner
