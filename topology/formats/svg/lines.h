// SPDX-License-Identifier: Apache-2.0
// Merges links into lines, and finds a way for each between its items.
#pragma once

#include <cstddef>
#include <vector>

#include "topology/formats/svg/index.h"
#include "topology/formats/svg/picture.h"

namespace tutti::topology::drawing {

// Ordered by items and type. Links within one item, and those of nodes that have none, are left
// out.
std::vector<Line> merge_links(const Graph& graph, const Overlay& overlay, const Picture& picture);

// Fills in `form` and `path` of each.
void route(const Picture& picture, std::vector<Line>& lines);

// The first `most` of an overlay's arrows whose ends are different items, as bent lines.
struct Arrow {
  OverlayArrow arrow;
  Line line;
};
std::vector<Arrow> route_arrows(const Picture& picture, const Overlay& overlay, size_t most);

// Points along a path, from its start (0) to its end (1).
Point point_at(const Line& line, double t);

}  // namespace tutti::topology::drawing
