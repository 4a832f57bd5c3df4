// SPDX-License-Identifier: Apache-2.0
// What a communicator drives: anything that makes progress in small steps and never blocks.
#pragma once

#include <cstddef>
#include <cstdint>

#include "src/base/error.h"
#include "transport/fifo.h"

namespace tutti::exec {

// How the messages of a communicator's tasks went since this was last cleared; written by the
// thread that owns its progress. How many they were is counted by their connections.
struct SentKinds {
  uint32_t mask = 0;  // bit i: transport::MessageKind i
};

// How messages travel. Agreed between ranks except for what each sender's memory allows (the
// message says which it was).
struct MessagePolicy {
  bool allow_inline = true;                // messages of at most kInlineBytes in the header line
  uint64_t direct_min_bytes = UINT64_MAX;  // references to mapped memory from this message size on
  uint64_t pull_min_bytes =
      UINT64_MAX;  // references that the receiver pulls, from this message size on
  // Who writes at least this much bypasses the caches for it. Each rank decides for itself.
  uint64_t streaming_min_bytes = 64 << 20;
};

class Task {
 public:
  virtual ~Task() = default;
  // Does what can be done now. kInProgress: call again (*advanced says whether anything moved, so
  // that waiting can back off); kOk: complete, every reference of ours has been consumed; else the
  // failure, naming the rank.
  virtual Status progress(bool* advanced) noexcept = 0;
  // A peer that this task is waiting for right now, -1 when it waits for none; for messages about
  // deadlines and deaths.
  virtual int waiting_for() const noexcept = 0;
  // Is this task waiting for that peer, in either direction? Used when a peer has died: the task
  // fails only if it needs it.
  virtual bool needs(int rank) const noexcept = 0;
};

}  // namespace tutti::exec
