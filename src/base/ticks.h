// SPDX-License-Identifier: Apache-2.0
// Time stamps for hot paths: one instruction where the processor's counter is steady.
#pragma once

#include <cstdint>

#include "src/base/clock.h"

namespace tutti {

// True when the kernel itself keeps time by the processor's counter, so that it counts at one rate
// on all cores; decided once per process.
bool counter_is_steady() noexcept;

// `by_counter` is what counter_is_steady() said: else ticks are nanoseconds of now_ns().
inline uint64_t read_ticks(bool by_counter) noexcept {
#if defined(__x86_64__)
  if (by_counter) [[likely]]
    return __builtin_ia32_rdtsc();
#elif defined(__aarch64__)
  if (by_counter) [[likely]] {
    uint64_t ticks;
    asm volatile("mrs %0, cntvct_el0" : "=r"(ticks));
    return ticks;
  }
#endif
  (void)by_counter;
  return static_cast<uint64_t>(now_ns());
}

// One moment by both clocks, to about 100 ns. Two anchors give the counter's rate.
struct TickAnchor {
  uint64_t ticks = 0;
  int64_t mono_ns = 0;
};
TickAnchor take_tick_anchor(bool by_counter) noexcept;

// The time of `ticks`, by two anchors of one counter; nanoseconds per tick is 1 while they are too
// close together to tell (less than 20 us).
int64_t ticks_to_ns(uint64_t ticks, const TickAnchor& first, const TickAnchor& last) noexcept;

}  // namespace tutti
