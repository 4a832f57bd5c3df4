// SPDX-License-Identifier: Apache-2.0
// The memory that a communicator's peers may write to, and how their access ends when it fails.
#pragma once

#include <mutex>
#include <vector>

namespace tutti::comm {

// Any thread. A rank that is stopped in the middle of a put resumes with it, however long ago the
// others have given it up: so a failed communicator takes its windows away from the peers before
// any call returns the error.
class Exposures {
 public:
  // [base, ...) is a window from now on; false when access has ended already.
  bool add(const void* base);
  void remove(const void* base) noexcept;
  // Detaches the memory of every window (device::detach_shared), now and for good.
  void end() noexcept;

 private:
  std::mutex mutex_;                // guards the rest; held while memory is detached
  std::vector<const void*> bases_;  // one entry per window
  bool ended_ = false;
};

}  // namespace tutti::comm
