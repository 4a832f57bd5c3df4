// SPDX-License-Identifier: Apache-2.0
// Which parts of a machine are drawn, and which hangs below which.
#pragma once

#include <cstdint>
#include <map>
#include <vector>

#include "topology/formats/svg/index.h"
#include "topology/formats/svg/picture.h"

namespace tutti::topology::drawing {

// What will be one item. Its place is filled in by whoever lays the machine out.
struct Part {
  NodeKind kind = NodeKind::kGpu;
  int32_t node = -1;                // -1: `more`, or cores that are in no package
  bool more = false;                // stands for parts that are not drawn
  int32_t up = -1;                  // the part above it: where its bytes to memory go
  std::vector<int32_t> below;       // parts
  std::vector<int32_t> stands_for;  // nodes without an item of their own
  double x = 0;
  double w = 0;
};

struct Parts {
  std::vector<Part> parts;
  std::vector<int32_t> roots;  // parts with nothing above them, CPUs first; no NVSwitches
  std::vector<int32_t> nvswitches;
  std::map<int32_t, int32_t> part_of;  // by node: what draws it or stands for it
  bool cpus_on_top = false;            // a path leads from devices up to a CPU or host bridge
};

bool is_cpu(NodeKind kind);  // drawn in the top row

// Everything in `machine` but the machines in it; -1: what is in no machine.
Parts choose_parts(const Index& index, int32_t machine, const Limits& limits);

}  // namespace tutti::topology::drawing
