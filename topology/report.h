// SPDX-License-Identifier: Apache-2.0
// A topology together with what could not be found out and why: nothing is skipped in silence.
#pragma once

#include <string>
#include <vector>

#include "topology/graph.h"

namespace tutti::topology {

struct Note {
  std::string source;  // who says so: "hwloc", "sysfs", "merge", ...
  std::string text;    // what was skipped or corrected, and the reason
  bool operator==(const Note&) const = default;
};

struct Report {
  Graph graph;
  std::vector<Note> notes;
  bool operator==(const Report&) const = default;
};

}  // namespace tutti::topology
