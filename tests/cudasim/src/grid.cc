// SPDX-License-Identifier: Apache-2.0
#include "tests/cudasim/src/grid.h"

#include <algorithm>
#include <map>
#include <tuple>

#include <spdlog/fmt/fmt.h>

#include "tests/cudasim/src/report.h"
#include "tests/cudasim/src/scheduler.h"

namespace cudasim {
namespace {

constexpr size_t kMostLines = 40;  // of a hang report, for each kernel

std::string hex(const uint8_t* value, uint32_t bytes) {
  std::string text = "0x";
  for (uint32_t i = bytes; i-- > 0;) text += fmt::format("{:02x}", value[i]);
  return text;
}

std::string wait_of(const Lane& lane) {
  const std::string at = place_name(lane.place);
  switch (lane.state) {
    case LaneState::kAtBarrier:
      return "wait at the block's barrier at " + at;
    case LaneState::kAtWarpOp:
      return fmt::format("wait for their warp (mask 0x{:08x}) at {}", lane.mask, at);
    case LaneState::kSleeps:
      return "sleep at " + at;
    case LaneState::kSpins:
      if (lane.last_watch == nullptr) return "spin at " + at;
      return fmt::format("read {} again and again from 0x{:x} at {}",
                         hex(lane.last_watch->value.data(), lane.last_watch->bytes),
                         lane.last_watch->address, at);
    default:
      return "run, last seen at " + at;
  }
}

std::string ranges(const std::vector<uint32_t>& numbers) {
  std::string text;
  for (size_t i = 0; i < numbers.size();) {
    size_t j = i;
    while (j + 1 < numbers.size() && numbers[j + 1] == numbers[j] + 1) ++j;
    text += fmt::format("{}{}", text.empty() ? "" : ",", numbers[i]);
    if (j > i) text += fmt::format("-{}", numbers[j]);
    i = j + 1;
  }
  return text;
}

uint32_t number_of(const Lane& lane) { return lane.warp * kWarpLanes + lane.lane; }

}  // namespace

std::string describe(const Lane& lane) {
  return fmt::format("block {}, thread {}", lane.owner->block->number, number_of(lane));
}

std::string describe(const Grid& grid) {
  const auto& block = grid.launch.block;
  return fmt::format("kernel {} ({} blocks of {} threads) on device {}", grid.launch.name,
                     grid.blocks, block[0] * block[1] * block[2], grid.launch.context->device);
}

std::string describe_waits(const Grid& grid) {
  std::string text = "  " + describe(grid);
  size_t lines = 0;
  for (const auto& block : grid.running) {
    std::map<std::string, std::vector<uint32_t>> waits;
    for (const auto& lane : block->lanes)
      if (lane->state != LaneState::kDone) waits[wait_of(*lane)].push_back(number_of(*lane));
    for (const auto& [wait, threads] : waits) {
      if (++lines > kMostLines) return text + "\n    and more";
      text += fmt::format("\n    block {}: threads {} {}", block->number, ranges(threads), wait);
    }
  }
  const uint64_t waiting = grid.blocks - grid.next_block;
  if (waiting > 0)
    text += fmt::format("\n    {} blocks wait for room on the device, which has {} at a time",
                        waiting, grid.resident);
  return text;
}

}  // namespace cudasim
