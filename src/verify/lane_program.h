// SPDX-License-Identifier: Apache-2.0
// What the lanes of a placed plan do, in flat arrays: a plan of a thousand ranks has millions of
// steps, and a simulation looks at each of them for every tile.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "src/plan/plan.h"
#include "src/verify/placement.h"

namespace tutti::verify {

struct FlatStep {
  uint32_t first_receive = 0;  // each up to that of the next step
  uint32_t first_send = 0;
  uint32_t first_wait = 0;
  uint16_t sources = 0;   // what a switch adds up is one
  uint16_t messages = 0;  // that it sends; what a switch copies is one
  uint16_t local_sinks = 0;
  bool data = false;  // moves an extent; else it signals, waits for signals, or both
};

struct FlatWait {
  uint32_t lane = 0;  // index into LaneProgram::lanes
  uint32_t step = 0;  // within that lane
};

struct FlatLane {
  int32_t rank = 0;
  uint32_t lane = 0;  // within the rank
  uint32_t first_step = 0;
  uint32_t steps = 0;
  std::vector<uint32_t> waiters;  // lanes with a step that waits for one of this lane
};

struct Ends {
  uint32_t source_lane = 0;  // indices into LaneProgram::lanes
  uint32_t sink_lane = 0;
};

struct LaneProgram {
  std::vector<FlatLane> lanes;       // rank by rank
  std::vector<uint32_t> first_lane;  // of each rank, and one past the last
  std::vector<FlatStep> steps;       // lane by lane, and one past the last
  std::vector<uint32_t> receives;    // connections, which are numbered like the placement's routes
  std::vector<uint32_t> sends;
  std::vector<FlatWait> waits;
  std::vector<Ends> connections;  // those of switch channels' loops have no lanes

  std::span<const uint32_t> receives_of(uint32_t step) const {
    return std::span(receives).subspan(steps[step].first_receive,
                                       steps[step + 1].first_receive - steps[step].first_receive);
  }
  std::span<const uint32_t> sends_of(uint32_t step) const {
    return std::span(sends).subspan(steps[step].first_send,
                                    steps[step + 1].first_send - steps[step].first_send);
  }
  std::span<const FlatWait> waits_of(uint32_t step) const {
    return std::span(waits).subspan(steps[step].first_wait,
                                    steps[step + 1].first_wait - steps[step].first_wait);
  }
};

enum class Data : uint8_t { kSome, kNone };

// The plan is well formed and the placement checked. With Data::kNone chunks are empty: steps that
// move data neither send nor receive (docs/design/verifier.md).
LaneProgram flatten(const plan::Plan& plan, const Placement& placement, Data data);

}  // namespace tutti::verify
