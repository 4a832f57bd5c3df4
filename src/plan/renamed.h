// SPDX-License-Identifier: Apache-2.0
// The same plan for ranks that are numbered otherwise.
#pragma once

#include <cstdint>
#include <span>

#include "src/plan/plan.h"

namespace tutti::plan {

// What rank r does in `plan`, rank new_rank[r] does in the result, with the blocks that belong to
// it. `new_rank` is a permutation of the ranks; throws InvalidArgument when it is none. The plan is
// well-formed.
Plan renamed(const Plan& plan, std::span<const int32_t> new_rank);

}  // namespace tutti::plan
