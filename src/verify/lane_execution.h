// SPDX-License-Identifier: Apache-2.0
// Which lane may do its next step: the order that a plan imposes, without the time that it takes.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "src/verify/lane_program.h"

namespace tutti::verify {

struct ExecutionLimits {
  int32_t slots = 1;  // messages of a connection between start() and finish() of their two steps
  int32_t tiles = 1;
  int32_t tiles_in_flight = 1;
};

// A step runs from start_next() to finish(); what happens in between, and how long it takes, is the
// caller's business. The caller says when a message has arrived.
class LaneExecution {
 public:
  // The program must outlive this.
  LaneExecution(const LaneProgram& program, const ExecutionLimits& limits);

  // A lane that begins a step now: its waits, its messages and the room in its sinks are there. The
  // room is taken. Nothing when all lanes run, wait or are through.
  std::optional<uint32_t> start_next();
  // The messages that the lane's step has received leave their slots.
  void finish(uint32_t lane);
  void arrive(uint32_t connection);

  uint32_t step_of(uint32_t lane) const {  // index into LaneProgram::steps
    return program_.lanes[lane].first_step + at_[lane].step;
  }
  int32_t tile_of(uint32_t lane) const { return at_[lane].tile; }

  // What a lane that has not come through waits for; nothing when all have.
  std::optional<std::string> stuck() const;

 private:
  struct Position {
    int32_t tile = 0;
    uint32_t step = 0;
    bool running = false;
  };
  struct Fifo {
    int64_t sent = 0;  // room taken
    int64_t arrived = 0;
    int64_t received = 0;  // room given back
  };
  enum class Lack : uint8_t { kNothing, kTile, kWait, kMessage, kRoom };

  bool through(uint32_t lane) const { return at_[lane].tile >= limits_.tiles; }
  Lack lack(uint32_t lane) const;
  bool window_open(uint32_t lane) const;
  bool waits_met(uint32_t lane) const;
  void advance(uint32_t lane);

  const LaneProgram& program_;
  const ExecutionLimits limits_;
  std::vector<Position> at_;          // by lane
  std::vector<Fifo> fifos_;           // by connection
  std::vector<uint32_t> candidates_;  // lanes that may have what they lacked
};

}  // namespace tutti::verify
