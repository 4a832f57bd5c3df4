// SPDX-License-Identifier: Apache-2.0
// An agent of another process on this host, whose memory this process maps or reads.
#pragma once

#include <atomic>
#include <cstddef>
#include <cstdint>
#include <map>
#include <memory>
#include <string>

#include "src/base/clock.h"
#include "src/base/error.h"
#include "src/transfer/blob.h"
#include "src/transfer/control_page.h"
#include "transport/shm/hub.h"
#include "transport/shm/peer_process.h"

namespace tutti::transfer {

class Neighbour {
 public:
  // Maps what can be mapped; waits for the agent's process to pass its memory on. Throws Error with
  // the reason when the agent is on another host or can't be reached by memory.
  Neighbour(std::shared_ptr<transport::shm::Hub> hub, const Blob& blob, Deadline deadline);

  // Its region's first byte here; null when it is not memory that can be mapped.
  std::byte* mapped(const RegionEntry& region) const noexcept;
  // This process may read the other's memory (process_vm_readv). `why_not()` says why it may not.
  bool may_read() const noexcept { return read_errno_ == 0; }
  std::string why_not() const;

  // One piece each. A region that has been deregistered, freed or withdrawn is InvalidUsage, a
  // process that has ended RemoteError.
  Status write(const RegionEntry& region, uint64_t offset, const std::byte* from,
               size_t bytes) noexcept;
  Status read(const RegionEntry& region, uint64_t offset, std::byte* into, size_t bytes) noexcept;
  // Raises its counter, after all that was written, and wakes it. RemoteError: its process has
  // ended; InvalidUsage: the agent has been destroyed.
  Status raise(uint32_t counter, uint64_t value) noexcept;
  // Known to those who can map its control page alone.
  uint64_t pull_token() const noexcept { return page_->pull_token; }
  // Its process has ended, or the agent has.
  Status status() const noexcept;

 private:
  struct Mapped {
    std::shared_ptr<transport::shm::PeerRegion>
        memory;  // shared with the hub's link, which revokes
  };
  const Mapped* find(const RegionEntry& region) const noexcept;
  Status check(const RegionEntry& region, bool writing) const noexcept;

  std::shared_ptr<transport::shm::Hub> hub_;  // shared by its nature
  std::shared_ptr<transport::shm::PeerProcess> process_;
  const transport::shm::Cookie cookie_;
  transport::shm::Exposure control_;  // with the agent's bell
  ControlPage* page_ = nullptr;
  std::map<uint64_t, Mapped> mapped_;  // by RegionEntry::shared_id
  int read_errno_ = 0;
};

}  // namespace tutti::transfer
