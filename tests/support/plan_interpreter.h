// SPDX-License-Identifier: Apache-2.0
// Runs a plan for all ranks in memory on real values, with lanes picked at random: the planner's
// reference, independent of the verifier and of the executor.
#pragma once

#include <cstdint>
#include <string>

#include "src/plan/plan.h"

namespace tutti::test {

struct InterpreterOptions {
  int32_t slots = 4;
  int32_t tiles = 3;
  bool in_place = false;
  uint64_t seed = 1;
};

// Runs the plan and compares every output with the collective's definition, on integers (each
// contribution exactly once, scaled before and after exactly once) and on floats (the same bits on
// every rank, although sums are rounded in each step). Returns what went wrong first (deadlock,
// left-over message, wrong result, written input), or an empty string. At most 64 ranks.
std::string interpret(const plan::Plan& plan, const InterpreterOptions& options);

}  // namespace tutti::test
