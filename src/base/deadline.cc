// SPDX-License-Identifier: Apache-2.0
// Deadlines saturate instead of wrapping.
#include <algorithm>
#include <climits>

#include "src/base/clock.h"

namespace tutti {

Deadline Deadline::after_ns(int64_t delay_ns) noexcept {
  const int64_t now = now_ns();
  if (delay_ns <= 0) return Deadline{now};
  return Deadline{delay_ns > INT64_MAX - now ? INT64_MAX : now + delay_ns};
}

int64_t Deadline::left_ns() const noexcept {
  if (time_ns_ == INT64_MAX) return INT64_MAX;
  const int64_t now = now_ns();
  return time_ns_ <= now ? 0 : time_ns_ - now;  // now >= 0, so the difference can't overflow
}

int Deadline::left_ms() const noexcept {
  const int64_t left = left_ns();
  if (left == INT64_MAX) return -1;
  const int64_t ms = left / kNsPerMs + (left % kNsPerMs != 0 ? 1 : 0);
  return static_cast<int>(std::min<int64_t>(ms, INT_MAX));
}

}  // namespace tutti
