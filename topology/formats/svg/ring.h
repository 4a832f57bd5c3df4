// SPDX-License-Identifier: Apache-2.0
// In which order GPUs go around a circle.
#pragma once

#include <utility>
#include <vector>

namespace tutti::topology::drawing {

// A permutation of 0 to n-1 that begins with 0, in which few of the links cross and most are short;
// 0, 1, 2, ... where nothing is better. A local search: deterministic, not always the optimum.
std::vector<int> ring_order(int n, const std::vector<std::pair<int, int>>& links);

}  // namespace tutti::topology::drawing
