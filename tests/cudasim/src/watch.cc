// SPDX-License-Identifier: Apache-2.0
// Spinning: a thread that reads what it has read before, and has read nothing new since, will go on
// doing so until one of the words it read has changed.
#include <cstring>

#include "tests/cudasim/src/scheduler.h"

namespace cudasim {

bool is_repeated(Lane& lane, uint64_t address, const uint8_t* host, const uint8_t* value,
                 uint32_t bytes) {
  for (Watch& watch : lane.watches) {
    if (watch.address != address || watch.bytes != bytes) continue;
    watch.turn = lane.turn;
    if (std::memcmp(watch.value.data(), value, bytes) == 0) {
      lane.last_watch = &watch;
      return true;
    }
    std::memcpy(watch.value.data(), value, bytes);
    lane.did_something = true;
    return false;
  }
  Watch& watch = lane.watches[lane.next_watch++ % lane.watches.size()];
  watch.address = address;
  watch.host = host;
  watch.bytes = bytes;
  watch.turn = lane.turn;
  std::memcpy(watch.value.data(), value, bytes);
  lane.did_something = true;
  return false;
}

bool has_changed(const Lane& lane) {
  for (const Watch& watch : lane.watches) {
    // What it read before the last two turns is not part of the loop that it is in.
    if (watch.bytes == 0 || watch.turn + 1 < lane.turn) continue;
    if (std::memcmp(watch.value.data(), watch.host, watch.bytes) != 0) return true;
  }
  return false;
}

}  // namespace cudasim
