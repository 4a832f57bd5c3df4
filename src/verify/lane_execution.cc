// SPDX-License-Identifier: Apache-2.0
// Moves lanes along their steps.
#include "src/verify/lane_execution.h"

#include <algorithm>

#include <spdlog/fmt/fmt.h>

namespace tutti::verify {

LaneExecution::LaneExecution(const LaneProgram& program, const ExecutionLimits& limits)
    : program_(program),
      limits_(limits),
      at_(program.lanes.size()),
      fifos_(program.connections.size()) {
  for (uint32_t lane = 0; lane < at_.size(); ++lane) {
    if (program.lanes[lane].steps == 0) at_[lane].tile = limits.tiles;
    candidates_.push_back(lane);
  }
}

std::optional<uint32_t> LaneExecution::start_next() {
  while (!candidates_.empty()) {
    const uint32_t lane = candidates_.back();
    candidates_.pop_back();
    if (at_[lane].running || through(lane) || lack(lane) != Lack::kNothing) continue;
    at_[lane].running = true;
    for (const uint32_t connection : program_.sends_of(step_of(lane))) ++fifos_[connection].sent;
    return lane;
  }
  return std::nullopt;
}

void LaneExecution::finish(uint32_t lane) {
  for (const uint32_t connection : program_.receives_of(step_of(lane))) {
    ++fifos_[connection].received;
    candidates_.push_back(program_.connections[connection].source_lane);
  }
  advance(lane);
}

void LaneExecution::advance(uint32_t lane) {
  Position& at = at_[lane];
  const FlatLane& own = program_.lanes[lane];
  at.running = false;
  candidates_.push_back(lane);
  candidates_.insert(candidates_.end(), own.waiters.begin(), own.waiters.end());
  if (++at.step < own.steps) return;
  at.step = 0;
  ++at.tile;
  for (uint32_t l = program_.first_lane[own.rank]; l < program_.first_lane[own.rank + 1]; ++l)
    candidates_.push_back(l);
}

void LaneExecution::arrive(uint32_t connection) {
  ++fifos_[connection].arrived;
  candidates_.push_back(program_.connections[connection].sink_lane);
}

LaneExecution::Lack LaneExecution::lack(uint32_t lane) const {
  if (at_[lane].step == 0 && !window_open(lane)) return Lack::kTile;
  if (!waits_met(lane)) return Lack::kWait;
  const uint32_t step = step_of(lane);
  for (const uint32_t connection : program_.receives_of(step))
    if (fifos_[connection].arrived == fifos_[connection].received) return Lack::kMessage;
  for (const uint32_t connection : program_.sends_of(step))
    if (fifos_[connection].sent - fifos_[connection].received >= limits_.slots) return Lack::kRoom;
  return Lack::kNothing;
}

bool LaneExecution::window_open(uint32_t lane) const {
  const int32_t rank = program_.lanes[lane].rank;
  const int32_t through_by_then = at_[lane].tile - limits_.tiles_in_flight;
  for (uint32_t l = program_.first_lane[rank]; l < program_.first_lane[rank + 1]; ++l)
    if (at_[l].tile <= through_by_then) return false;
  return true;
}

bool LaneExecution::waits_met(uint32_t lane) const {
  const Position& own = at_[lane];
  return std::ranges::all_of(program_.waits_of(step_of(lane)), [&](const FlatWait& wait) {
    const Position& other = at_[wait.lane];
    return other.tile > own.tile || (other.tile == own.tile && other.step > wait.step);
  });
}

std::optional<std::string> LaneExecution::stuck() const {
  for (uint32_t lane = 0; lane < at_.size(); ++lane) {
    if (through(lane)) continue;
    const FlatLane& own = program_.lanes[lane];
    const char* what[] = {"its end", "an earlier tile of its rank", "a step of another lane",
                          "a message", "a free slot"};
    return fmt::format("rank {} lane {} step {} (tile {}) waits for {} that never comes", own.rank,
                       own.lane, at_[lane].step, at_[lane].tile,
                       what[static_cast<size_t>(lack(lane))]);
  }
  return std::nullopt;
}

}  // namespace tutti::verify
