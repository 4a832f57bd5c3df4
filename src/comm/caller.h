// SPDX-License-Identifier: Apache-2.0
// What the library remembers of a calling thread: looked at by every call, so it is plain data at a
// fixed place.
#pragma once

#include <cstdint>

namespace tutti::comm {

struct Caller {
  uint64_t token = 0;   // see this_thread_token(); 0: none yet
  int group_depth = 0;  // tuttiGroupStart calls without their tuttiGroupEnd
};

// Initial-exec: one instruction to reach it, also in the shared library.
[[gnu::tls_model("initial-exec")]] inline constinit thread_local Caller this_caller;

}  // namespace tutti::comm
