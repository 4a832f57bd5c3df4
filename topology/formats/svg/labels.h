// SPDX-License-Identifier: Apache-2.0
// Writes bandwidths next to lines where there is room.
#pragma once

#include <cstddef>
#include <string>
#include <vector>

#include "topology/formats/svg/lines.h"
#include "topology/formats/svg/picture.h"

namespace tutti::topology::drawing {

struct Label {
  std::string text;
  Rect rect;
  size_t line = 0;
};

// Lines of one sort that all say the same get one label, "450 GB/s each". With loads, labels say
// how full lines are instead. No label overlaps a box, another label, an arrow or a line that is
// not its own.
std::vector<Label> place_labels(const Picture& picture, const std::vector<Line>& lines,
                                const std::vector<Arrow>& arrows, bool loads);

// Where a name of the given width is in the middle of a bar, or as near to it as lines that pass
// over the bar allow.
double bar_name_x(const Item& bar, double width, const std::vector<Line>& lines);

// Where the heading of a frame is.
Rect heading_rect(const Item& frame);

}  // namespace tutti::topology::drawing
