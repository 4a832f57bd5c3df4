// SPDX-License-Identifier: Apache-2.0
// Draws a topology, and what a plan does to it, as one SVG file for people.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "topology/report.h"

namespace tutti::topology {

// What one link carries, as a fraction of its capacity in each direction: 0 is idle, 1 full, more
// is too much.
struct LinkPaint {
  double forward_load = 0;
  double reverse_load = 0;
  bool bottleneck = false;  // one of those that bound the plan
};

struct OverlayArrow {
  int32_t from = 0;  // nodes, which need no link between them
  int32_t to = 0;
  int32_t color = 0;  // 0, 1, ...: arrows of one tree have one number; the palette repeats
};

struct Overlay {
  std::vector<LinkPaint> links;  // by link of the graph; empty: links keep their types' colours
  std::vector<bool> cut_nodes;   // by node, true: inside the cut; empty: none
  std::vector<OverlayArrow> arrows;
  std::string caption;  // below the title
};

// Machines are boxes with their parts in rows; parallel links are one line that is wider where
// there is more bandwidth; a legend says what widths and colours mean, tooltips say everything
// else. What would be too much to look at is drawn once with its number ("… 60 more boxes like
// these"), so that the largest graph gives a file below 1 MB. The same report and overlay give the
// same bytes. Throws InvalidArgument when the overlay does not fit the graph.
std::string svg(const Report& report, const Overlay& overlay = {});

}  // namespace tutti::topology
