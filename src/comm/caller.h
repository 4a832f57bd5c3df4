// SPDX-License-Identifier: Apache-2.0
// What the library remembers of a calling thread: looked at by every call, so it is plain data at a
// fixed place.
#pragma once

#include <cstdint>

namespace tutti::comm {

struct Caller {
  static constexpr uint64_t kNobody = ~uint64_t{0};
  uint64_t token = 0;        // see this_thread_token(); 0: none yet
  int group_depth = 0;       // tuttiGroupStart calls without their tuttiGroupEnd
  uint64_t known = kNobody;  // the token, if a forked child's thread is sure to lose it
  uint64_t solo = kNobody;   // `known` while no group is open, else kNobody

  void open_group() noexcept {
    ++group_depth;
    solo = kNobody;
  }
  void close_group() noexcept {
    if (--group_depth == 0) solo = known;
  }
};

// Initial-exec: one instruction to reach it, also in the shared library.
[[gnu::tls_model("initial-exec")]] inline constinit thread_local Caller this_caller;

}  // namespace tutti::comm
