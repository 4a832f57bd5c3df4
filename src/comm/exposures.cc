// SPDX-License-Identifier: Apache-2.0
// Keeps the list of windows and detaches their memory.
#include "src/comm/exposures.h"

#include <algorithm>

#include "src/base/error.h"
#include "src/base/log.h"
#include "src/device/device.h"

namespace tutti::comm {

bool Exposures::add(const void* base) {
  const std::lock_guard lock(mutex_);
  if (!ended_) bases_.push_back(base);
  return !ended_;
}

void Exposures::remove(const void* base) noexcept {
  const std::lock_guard lock(mutex_);
  const auto found = std::find(bases_.begin(), bases_.end(), base);
  if (found != bases_.end()) bases_.erase(found);
}

void Exposures::end() noexcept {
  const std::lock_guard lock(mutex_);
  ended_ = true;
  for (const void* base : bases_) {
    try {
      device::detach_shared(base);
    } catch (const Error& e) {
      log(LogLevel::kError, "comm", -1, "a peer may still write to a window: {}", e.what());
    }
  }
  bases_.clear();
}

}  // namespace tutti::comm
