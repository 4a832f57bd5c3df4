// SPDX-License-Identifier: Apache-2.0
// Runs a case on one rank and checks every byte, count and statistic.
#pragma once

#include "tests/moe/case.h"
#include "tutti/tutti.h"

namespace tutti::moe_test {

// Throws std::runtime_error saying what was wrong.
void run_case(const Case& c, tuttiComm_t comm, int rank);

// Throws what the call failed with.
void require(tuttiResult_t result, const char* what);

}  // namespace tutti::moe_test
