// SPDX-License-Identifier: Apache-2.0
// What a running job does right now: rank by rank, how fast, and who waits for whom.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "src/trace/timeline.h"

namespace tutti::trace {

struct LiveRank {
  int rank = 0;
  const Recording* recording = nullptr;  // null: none was found
  char state = 0;                        // of its process, as a Fate says
  std::string doing;                     // the operation, or "idle", "failed", "finalized"
  bool inside = false;                   // an operation has begun and not ended
  int64_t for_ns = 0;                    // inside it, or since the last one
  int waiting_for = -1;
  // Since the earlier look; negative: not known.
  double operations_per_second = -1;
  double algbw = -1;  // bytes per second of the operations that ended, while they ran
};

// Ranks that wait, directly or through others, for the same.
struct Wait {
  std::vector<int> waiting;
  std::vector<int> causes;  // one rank, or several that wait for each other
  bool stuck = false;       // it can't end by itself: a cause is stopped or gone
  std::string text;         // "ranks 0-2 wait for rank 3, which is stopped (T)"
};

struct LiveComm {
  const CommView* comm = nullptr;
  std::vector<LiveRank> ranks;  // all of them
  std::vector<Wait> waits;
  std::string failure;  // of the lowest rank that has failed, or who is gone; "" when none
};

// `now` must stay. `before`: null, or what was read earlier.
std::vector<LiveComm> live_view(const Timeline& now, const std::vector<Recording>* before,
                                const Fate& fate);

}  // namespace tutti::trace
