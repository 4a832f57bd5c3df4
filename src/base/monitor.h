// SPDX-License-Identifier: Apache-2.0
// A mutex with a condition: how set-up code and stream workers wait for each other. Not for hot
// paths.
#pragma once

#include <chrono>
#include <condition_variable>
#include <mutex>

#include "src/base/clock.h"

namespace tutti {

class Monitor {
 public:
  using Lock = std::unique_lock<std::mutex>;

  [[nodiscard]] Lock lock() { return Lock(mutex_); }
  // Waits until ready() holds or the deadline has passed; returns ready(). The lock is held
  // whenever ready() runs.
  template <typename Ready>
  bool wait(Lock& lock, Deadline deadline, Ready ready) {
    while (!ready()) {
      if (deadline.expired()) return ready();
      const int64_t nap_ns =
          deadline.left_ns() < kLongestNapNs ? deadline.left_ns() : kLongestNapNs;
      changed_.wait_for(lock, std::chrono::nanoseconds(nap_ns));
    }
    return true;
  }
  void notify_all() noexcept { changed_.notify_all(); }

 private:
  static constexpr int64_t kLongestNapNs = kNsPerSecond;  // keeps the arithmetic far from overflow

  std::mutex mutex_;
  std::condition_variable changed_;
};

}  // namespace tutti
