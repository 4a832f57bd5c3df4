// SPDX-License-Identifier: Apache-2.0
// Decides whether the counter may be trusted, and relates it to the monotonic clock.
#include "src/base/ticks.h"

#include <fcntl.h>
#include <unistd.h>

#include <cmath>
#include <string_view>

#include "src/base/file.h"

namespace tutti {
namespace {

constexpr int kAnchorTries = 4;
constexpr int64_t kShortestSpanNs = 20 * kNsPerUs;

// The kernel watches the counter and stops using it when it is unsteady.
bool kernel_trusts_counter() noexcept {
#if defined(__aarch64__)
  return true;  // the architecture demands it
#elif defined(__x86_64__)
  const FileDescriptor fd{::open("/sys/devices/system/clocksource/clocksource0/current_clocksource",
                                 O_RDONLY | O_CLOEXEC)};
  char name[32] = {};
  const ssize_t bytes = fd ? ::read(fd.get(), name, sizeof name) : 0;
  return bytes > 0 && std::string_view(name, static_cast<size_t>(bytes)) == "tsc\n";
#else
  return false;
#endif
}

}  // namespace

bool counter_is_steady() noexcept {
  static const bool steady = kernel_trusts_counter();
  return steady;
}

TickAnchor take_tick_anchor(bool by_counter) noexcept {
  TickAnchor best;
  uint64_t least = UINT64_MAX;
  for (int i = 0; i < kAnchorTries; ++i) {
    const uint64_t before = read_ticks(by_counter);
    const int64_t now = now_ns();
    const uint64_t after = read_ticks(by_counter);
    if (after - before >= least) continue;
    least = after - before;
    best = {before + (after - before) / 2, now};
  }
  return best;
}

int64_t ticks_to_ns(uint64_t ticks, const TickAnchor& first, const TickAnchor& last) noexcept {
  double ns_per_tick = 1;
  if (last.ticks > first.ticks && last.mono_ns - first.mono_ns >= kShortestSpanNs) {
    ns_per_tick = static_cast<double>(last.mono_ns - first.mono_ns) /
                  static_cast<double>(last.ticks - first.ticks);
  }
  // From the nearer anchor in most cases, so that rounding and the rate's error stay small.
  const auto distance = static_cast<double>(static_cast<int64_t>(ticks - last.ticks));
  const double ns = distance * ns_per_tick;
  constexpr double kFarthestNs = 9e17;  // 28 years: what is beyond is no time of ours
  if (!(std::fabs(ns) < kFarthestNs)) return last.mono_ns;
  return last.mono_ns + std::llround(ns);
}

}  // namespace tutti
