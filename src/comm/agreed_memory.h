// SPDX-License-Identifier: Apache-2.0
// What the collectives of a communicator make each rank with a memory cap hold, computed by every
// rank alike, so that a call that does not fit somewhere is refused everywhere (docs/adr/0006).
#pragma once

#include <cstddef>
#include <cstdint>
#include <map>
#include <optional>
#include <set>
#include <span>
#include <string>
#include <utility>
#include <vector>

#include "src/comm/peers.h"
#include "src/planner/planner.h"
#include "transport/fifo.h"

namespace tutti::comm {

// An upper bound of what is charged, point-to-point calls aside: those are a matter between two
// ranks and are not agreed upon. Owned by the communicator's progress.
class AgreedMemory {
 public:
  AgreedMemory(std::span<const PeerRecord> records, const transport::FifoLayout& layout,
               bool may_pull);

  // False on a communicator without caps, where all else here need not be called.
  bool limited() const noexcept { return !ranks_.empty(); }

  // A call of a plan with chunks of this size.
  struct Call {
    const planner::VerifiedPlan& plan;
    uint64_t program_key;
    size_t chunk_bytes;
  };
  // Notes the call; or says why it does not fit, and notes nothing.
  std::optional<std::string> admit(const Call& call);

 private:
  struct Held {
    int rank = 0;
    uint64_t cap_bytes = 0;
    size_t fixed_bytes = 0;                             // made with the communicator
    size_t program_bytes = 0;                           // of all so far
    size_t scratch_bytes = 0;                           // of the largest call so far
    std::set<std::pair<int32_t, int32_t>> connections;  // (peer, channel)
    std::set<uint64_t> programs;                        // keys
  };
  size_t total(const Held& held) const noexcept {
    return held.fixed_bytes + held.program_bytes + held.scratch_bytes +
           held.connections.size() * connection_bytes_;
  }
  Held with(const Held& before, const Call& call) const;
  std::string refusal(const Held& before, const Held& after) const;

  size_t connection_bytes_;
  bool may_pull_;
  std::vector<Held> ranks_;              // those with a cap
  std::map<uint64_t, size_t> admitted_;  // largest chunk so far, by program
};

}  // namespace tutti::comm
