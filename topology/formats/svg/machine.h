// SPDX-License-Identifier: Apache-2.0
// Lays out one machine: rows of parts inside a frame.
#pragma once

#include <cstdint>

#include "topology/formats/svg/index.h"
#include "topology/formats/svg/picture.h"

namespace tutti::topology::drawing {

// How high links between parts of one row rise above (or sink below) it; `span` is 2 between
// neighbours but one.
inline double arc_depth(int span) { return 10.0 + 13.0 * span; }

// Of one lane of links that go around a circle.
inline constexpr double kLanePx = 11;

// What `machine` holds itself, without the machines in it; -1: what is in no machine. Adds items to
// the picture, from (0, 0) on. NICs are at the bottom, where the fabric is.
Block lay_out_machine(const Index& index, const Limits& limits, int32_t machine, bool nested,
                      Picture& picture);

}  // namespace tutti::topology::drawing
