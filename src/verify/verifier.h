// SPDX-License-Identifier: Apache-2.0
// Proves a plan: exactly once, no deadlock, no race, nothing left in a FIFO. Shares no code with
// the planner.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "src/plan/plan.h"

namespace tutti::verify {

// May the messages of this connection carry references to the sender's input and output chunks
// instead of bytes? (A source stays in use until its receiver has consumed it. Scratch chunks
// always travel as bytes, and so do sources that the operation at hand really scales.)
struct ConnectionVerdict {
  int32_t source_rank = 0;
  int32_t sink_rank = 0;
  int32_t channel = 0;
  bool reference_safe_out_of_place = false;
  bool reference_safe_in_place = false;
  int64_t messages_per_tile = 0;
  int32_t slots_needed =
      1;  // fewest slots of this plan (all connections alike) that do not deadlock
};

struct Verdict {
  bool accepted = false;
  std::string reason;     // why not: property, rank, lane, step, tile, what was expected and what
                          // came; empty when accepted
  int32_t min_slots = 0;  // fewest slots per connection with which the plan finishes
  std::vector<ConnectionVerdict> connections;  // sorted by (source, sink, channel)
};

// Unrolls slots + 1 tiles (at least tiles_in_flight + 1) and runs them symbolically, out of place
// and in place. Never throws for a bad plan; that is a Verdict.
Verdict verify(const plan::Plan& plan);

}  // namespace tutti::verify
