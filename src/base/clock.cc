// SPDX-License-Identifier: Apache-2.0
// Reads the system's clocks. Nothing else is here, so that a simulation can put its own in place of
// this file.
#include "src/base/clock.h"

#include <time.h>

namespace tutti {

int64_t now_ns() noexcept {
  timespec now{};
  clock_gettime(CLOCK_MONOTONIC, &now);
  return now.tv_sec * kNsPerSecond + now.tv_nsec;
}

int64_t wall_ns() noexcept {
  timespec now{};
  clock_gettime(CLOCK_REALTIME, &now);
  return now.tv_sec * kNsPerSecond + now.tv_nsec;
}

}  // namespace tutti
