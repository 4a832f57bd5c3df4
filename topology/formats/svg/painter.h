// SPDX-License-Identifier: Apache-2.0
// Writes what has been placed: frames, lines, boxes, labels, arrows.
#pragma once

#include <vector>

#include <pugixml.hpp>

#include "topology/formats/svg/index.h"
#include "topology/formats/svg/lines.h"
#include "topology/formats/svg/picture.h"

namespace tutti::topology::drawing {

struct Scene {
  const Index& index;
  const Overlay& overlay;
  const Picture& picture;
  std::vector<Line> lines;
  std::vector<Arrow> arrows;
};

// Everything but title, legend and notes. Each item is a group with the attributes data-id (but for
// items that stand for several nodes) and data-nodes, the number of nodes that it stands for.
void paint(pugi::xml_node parent, const Scene& scene);

}  // namespace tutti::topology::drawing
