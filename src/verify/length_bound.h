// SPDX-License-Identifier: Apache-2.0
// The bound of an AllToAll that lengths of links prove.
#pragma once

#include <array>
#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "src/base/rational.h"
#include "topology/graph.h"

namespace tutti::verify {

// (sum over ordered pairs of the distance between their nodes) / (n sum over links and directions
// of capacity times length), for n ranks on `nodes`: every block of an n-th of a unit takes a way
// at least as long as the distance, and in time T links have room for T times the second sum.
// Links that are down or whose capacity is not known are no ways and have no room. Returns why
// there is no such bound; throws InvalidArgument when it is no fraction of 64-bit numbers.
std::optional<std::string> bound_by_lengths(const topology::Graph& graph,
                                            const std::vector<int32_t>& nodes,
                                            const std::vector<std::array<int64_t, 2>>& lengths,
                                            Rational* bound);

}  // namespace tutti::verify
