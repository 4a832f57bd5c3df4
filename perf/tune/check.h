// SPDX-License-Identifier: Apache-2.0
// Holds the planner's choice against what is measured.
#pragma once

#include <string>
#include <vector>

#include "src/planner/profile.h"

namespace tutti::command {

struct CheckOptions {
  std::vector<int> ranks{2, 4, 8};
  const planner::Profile* profile = nullptr;  // null: the planner's defaults
  bool quick = false;
  bool quiet = false;   // no progress
  bool mapped = false;  // in memory that peers map
};

struct CheckedPoint {
  int n_ranks = 1;
  std::string collective;
  uint64_t bytes = 0;  // of one block
  std::string chosen;
  std::string best;  // that the choice is slowest against
  double chosen_ns = 0;
  double best_ns = 0;
  double slowdown = 1;  // of the choice against the best
};

// At every size by 2 of every collective that has several algorithms.
std::vector<CheckedPoint> check(const CheckOptions& options);

inline constexpr double kGoodSlowdown = 1.10;
inline constexpr double kGoodShare = 0.95;
double good_share(const std::vector<CheckedPoint>& points);
// A table of the points that are not good, and a summary by number of ranks.
std::string report(const std::vector<CheckedPoint>& points);

}  // namespace tutti::command
