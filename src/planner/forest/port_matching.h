// SPDX-License-Identifier: Apache-2.0
// Which of a switch's ports sends how much to which other, when all are treated alike.
#pragma once

#include <cstdint>
#include <vector>

namespace tutti::planner {

// By [from][to], whole numbers; the diagonal is 0.
using Matching = std::vector<std::vector<int64_t>>;

// Row a adds up to at most in[a], column b to at most out[b]; both are met wherever no port has
// more than all others together. In proportion to both (Kruithof 1937), then rounded so that equal
// ports get rows that are one row turned round.
Matching even_matching(const std::vector<int64_t>& in, const std::vector<int64_t>& out);

}  // namespace tutti::planner
