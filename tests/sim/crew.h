// SPDX-License-Identifier: Apache-2.0
// Worker processes that share a range of seeds.
#pragma once

#include <cstdint>
#include <string>

#include "tests/sim/job.h"

namespace tutti::sim {

struct Shift {
  uint64_t first = 1;
  uint64_t seeds = 1;
  int jobs = 1;
  bool verbose = false;
};

struct Report {
  Tally tally;
  double seconds = 0;
  double cpu_seconds = 0;  // of the busiest worker: what it takes on cores of its own
  uint64_t seed = 0;       // of the finding: the lowest that a worker came to
  std::string finding;     // "": none
};

// Stops at the first finding. A worker that falls (a signal, a limit of time on one seed) is a
// finding too. Shows progress on a terminal.
Report run_seeds(const Shift& shift);

}  // namespace tutti::sim
