// SPDX-License-Identifier: Apache-2.0
// Runs a case on one rank and checks every byte, count and statistic.
#pragma once

#include <functional>

#include "tests/moe/case.h"
#include "tutti/tutti.h"

namespace tutti::moe_test {

// Throws std::runtime_error saying what was wrong.
void run_case(const Case& c, tuttiComm_t comm, int rank);

// Where a layer is.
enum class Phase : int { kRouted, kDispatchSent, kDispatched, kCombineSent, kCombined };
inline constexpr int kPhases = 5;
// A group for the case; maxTokens of all its ranks must be the case's.
tuttiMoeGroup_t make_group(const Case& c, tuttiComm_t comm, int place);
// Runs a layer in its phases on a group that is there; `at` is called between them.
void run_layer(const Case& c, tuttiMoeGroup_t group, int rank,
               const std::function<void(Phase)>& at);

// Throws what the call failed with.
void require(tuttiResult_t result, const char* what);

}  // namespace tutti::moe_test
