// SPDX-License-Identifier: Apache-2.0
// Which ranks share a core, when there are more ranks than cores.
#pragma once

#include <sched.h>

#include <cstdint>

namespace tutti::command {

// The kernel leaves ranks where they are for a long time, so that what one job measures depends on
// which of them happen to share a core: a tree whose neighbours do is slow. Moving them between
// rounds has one job see many placements.
class Placement {
 public:
  Placement() = default;
  // Of this thread, which is one of so many ranks.
  Placement(int rank, int n_ranks);
  // Moves it to its core in the turn's placement, the same on all ranks, and lets the kernel decide
  // again. False, and nothing, where ranks have cores of their own.
  bool shuffle(uint32_t turn) const;

 private:
  int rank_ = 0;
  int n_ranks_ = 0;
  cpu_set_t usable_{};
};

}  // namespace tutti::command
