// SPDX-License-Identifier: Apache-2.0
// What is written in the box of one part.
#pragma once

#include <string>
#include <vector>

#include "topology/formats/svg/parts.h"
#include "topology/formats/svg/picture.h"

namespace tutti::topology::drawing {

// Few cores are squares, many are a number.
inline constexpr size_t kMaxCoreSquares = 16;
inline constexpr size_t kCoreSquaresPerRow = 8;
inline constexpr double kCorePx = 14;

// An item without a place: shape, texts and cores.
Item describe(const Graph& graph, const Part& part);
// "box0, dgx-h100, 64 GiB"
std::string heading(const Graph& graph, int32_t machine);
// The height that the item's texts and cores take.
double text_height(const Item& item);
// The width of its widest line.
double text_width(const Item& item);

}  // namespace tutti::topology::drawing
