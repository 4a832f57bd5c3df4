// SPDX-License-Identifier: Apache-2.0
// Says what widths and colours of a drawing mean, and what it does not show.
#pragma once

#include <vector>

#include <pugixml.hpp>

#include "topology/formats/svg/picture.h"
#include "topology/report.h"

namespace tutti::topology::drawing {

// Entries in rows below `top`, no wider than `width`. Returns where they end.
double write_legend(pugi::xml_node parent, const std::vector<Line>& lines, const Overlay& overlay,
                    double top, double width);

// The report's first notes.
double write_notes(pugi::xml_node parent, const std::vector<Note>& notes, double top, double width);

}  // namespace tutti::topology::drawing
