// SPDX-License-Identifier: Apache-2.0
// Which machines look the same, so that one stands for many.
#pragma once

#include <cstdint>
#include <vector>

#include "topology/formats/svg.h"
#include "topology/formats/svg/index.h"

namespace tutti::topology::drawing {

// A machine that is drawn, or (machine -1) those that are not.
struct Entry {
  int32_t machine = -1;
  std::vector<int32_t> hidden;
  bool alike = true;  // each of `hidden` looks like a machine that is drawn
};

// Of more than `most` machines, those of equal structure, cut and bottlenecks are drawn as the
// first `first`, the last and an entry for the others; of very many kinds, only the first kinds.
std::vector<Entry> choose_machines(const Index& index, const Overlay& overlay,
                                   const std::vector<int32_t>& machines, size_t most, size_t first);

// `machine` and all that is in it, machines too.
std::vector<int32_t> subtree(const Index& index, int32_t machine);

}  // namespace tutti::topology::drawing
