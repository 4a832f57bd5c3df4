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

// In which order every output chunk takes the contributions of ranks 0 .. n-1, and how often it is
// rounded on the way; from the least to the most that is proved (docs/design/verifier.md). Plans
// that only move data are kInOrderOnce.
enum class FoldOrder : uint8_t {
  kAny,          // some other order, or one that differs between chunks
  kInOrder,      // ((0 + 1) + 2) + ..., in one step or several: a partial sum may be stored between
  kInOrderOnce,  // the same, all n in one step, which also applies `post`: one rounding, at its end
};
const char* name(FoldOrder order) noexcept;  // "any order", "rank order", "rank order in one step"

struct Verdict {
  bool accepted = false;
  std::string reason;     // why not: property, rank, lane, step, tile, what was expected and what
                          // came; empty when accepted
  int32_t min_slots = 0;  // fewest slots per connection with which the plan finishes
  FoldOrder fold_order = FoldOrder::kAny;
  std::vector<ConnectionVerdict> connections;  // sorted by (source, sink, channel)
};

// Unrolls slots + 1 tiles (at least tiles_in_flight + 1) and runs them symbolically, out of place
// and in place. Never throws for a bad plan; that is a Verdict.
Verdict verify(const plan::Plan& plan);

}  // namespace tutti::verify
