// SPDX-License-Identifier: Apache-2.0
// The only source of time in the library.
#pragma once

#include <cstdint>

namespace tutti {

inline constexpr int64_t kNsPerUs = 1'000;
inline constexpr int64_t kNsPerMs = 1'000'000;
inline constexpr int64_t kNsPerSecond = 1'000'000'000;

// Monotonic time in nanoseconds since an arbitrary start.
int64_t now_ns() noexcept;
// Nanoseconds since 1970: only to relate monotonic times of different hosts. It may jump.
int64_t wall_ns() noexcept;

// A point in time after which a wait gives up. Every wait in the library takes one.
class Deadline {
 public:
  static Deadline after_ns(int64_t delay_ns) noexcept;  // delay_ns <= 0 means already expired
  static constexpr Deadline never() noexcept { return Deadline{INT64_MAX}; }
  static constexpr Deadline at_ns(int64_t time_ns) noexcept { return Deadline{time_ns}; }

  bool expired() const noexcept { return time_ns_ != INT64_MAX && now_ns() >= time_ns_; }
  // Nanoseconds left, never negative; INT64_MAX when there is no deadline.
  int64_t left_ns() const noexcept;
  // As left_ns, for poll(2): whole milliseconds rounded up, -1 when there is no deadline.
  int left_ms() const noexcept;
  constexpr int64_t time_ns() const noexcept { return time_ns_; }

 private:
  constexpr explicit Deadline(int64_t time_ns) noexcept : time_ns_(time_ns) {}
  int64_t time_ns_;
};

}  // namespace tutti
