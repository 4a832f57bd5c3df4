// SPDX-License-Identifier: Apache-2.0
// Gives everything that is drawn its place.
#pragma once

#include "topology/formats/svg/index.h"
#include "topology/formats/svg/picture.h"

namespace tutti::topology::drawing {

// Machines side by side, the network below them or between two rows of them.
Picture lay_out(const Index& index, const Overlay& overlay, const Limits& limits);

}  // namespace tutti::topology::drawing
