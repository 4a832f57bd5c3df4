// SPDX-License-Identifier: Apache-2.0
// Lines of 128 bytes that eight lanes of a warp move as one: nobody, in any process, sees a part.
#include <cstring>
#include <optional>

#include <spdlog/fmt/fmt.h>

#include "tests/cudasim/src/scheduler.h"

namespace cudasim {
namespace {

constexpr uint32_t kGroup = 8;
constexpr uint64_t kPart = 16;  // of a lane
constexpr uint32_t kLine = 128;

void check_group(const Warp& warp, uint32_t first, uint32_t mask) {
  const uint32_t group = mask >> first & 0xff;
  if (group == 0xff && warp.lane(first).line_address % kLine == 0) {
    bool in_order = true;
    for (uint32_t i = 1; i < kGroup; ++i)
      in_order &= warp.lane(first + i).line_address == warp.lane(first).line_address + i * kPart;
    if (in_order) return;
  }
  scheduler().fail(
      Result::kMisalignedAddress,
      fmt::format("moves a line of 128 bytes, but lanes {} to {} do not access one aligned line, "
                  "16 bytes each in order (lane {}: 0x{:x})",
                  first, first + kGroup - 1, first, warp.lane(first).line_address));
}

std::atomic<uint32_t>* lock_of(uint64_t address) {
  Region* const region = space().find(address);
  return region != nullptr && region->backing ? &region->backing->shared().line_lock : nullptr;
}

using Line = std::array<uint8_t, kLine>;

void load_line(Warp& warp, uint32_t first) {
  Lane& lane = warp.lane(first);
  Line line{};
  if (WeakMemory* const weak = scheduler().weak(); weak != nullptr) {
    weak->load(lane, lane.line_host, line.data(), kLine, false);
  } else {
    std::memcpy(line.data(), lane.line_host, kLine);
  }
  for (uint32_t i = 0; i < kGroup; ++i)
    std::memcpy(warp.lane(first + i).line_data.data(), &line[i * kPart], 16);
}

void move_line(Warp& warp, uint32_t first, LineOp op) {
  Lane& lane = warp.lane(first);
  std::atomic<uint32_t>* const word = lock_of(lane.line_address);
  Line line{};
  for (uint32_t i = 0; i < kGroup; ++i)
    std::memcpy(&line[i * kPart], warp.lane(first + i).line_data.data(), 16);
  WeakMemory* const weak = scheduler().weak();
  if (op == LineOp::kStore && weak != nullptr)  // takes the lock when it goes to memory
    return weak->store_line(lane, lane.line_host, line.data(), word);
  std::optional<PidLock> lock;
  if (word != nullptr) lock.emplace(*word);
  if (op == LineOp::kLoad) return load_line(warp, first);
  std::memcpy(lane.line_host, line.data(), kLine);
}

}  // namespace

bool move_lines(Warp& warp, uint32_t mask) {
  const LineOp op = warp.lane(static_cast<uint32_t>(__builtin_ctz(mask))).line;
  bool news = op == LineOp::kStore;
  for (uint32_t first = 0; first < warp.lanes; first += kGroup) {
    uint32_t active = 0;
    for (uint32_t l = first; l < std::min(first + kGroup, warp.lanes); ++l)
      if (warp.lane(l).line_host != nullptr) active |= 1U << l;
    if (active == 0) continue;
    check_group(warp, first, active);
    move_line(warp, first, op);
    for (uint32_t l = first; l < first + kGroup; ++l) {
      Lane& lane = warp.lane(l);
      if (op == LineOp::kLoad) {
        news |= !is_repeated(lane, lane.line_address, lane.line_host, lane.line_data.data(), 16);
      } else {
        lane.did_something = true;
      }
    }
  }
  return news;
}

}  // namespace cudasim
