// SPDX-License-Identifier: Apache-2.0
// Memory of a peer process that this process has mapped.
#pragma once

#include <atomic>
#include <cstddef>
#include <cstdint>
#include <map>
#include <memory>
#include <mutex>

#include "src/base/file.h"

namespace tutti::transport::shm {

class PeerRegion {
 public:
  // Throws InvalidArgument when the file is not sealed or smaller than said, SystemError when it
  // can't be mapped.
  PeerRegion(int fd, size_t bytes);
  std::byte* data() const noexcept { return mapping_.data(); }
  size_t bytes() const noexcept { return mapping_.bytes(); }

  // The peer has freed the region. Its pages go at once; the address range stays, filled with
  // zeros, until the last holder lets go, so that a thread that is still using it reads nonsense
  // instead of crashing.
  void revoke() noexcept;
  bool revoked() const noexcept { return revoked_.load(std::memory_order_acquire); }
  // The peer has left these pages: what it has sent by reference can still be read.
  void close_to_writes() noexcept { writable_.store(false, std::memory_order_release); }
  bool writable() const noexcept { return writable_.load(std::memory_order_acquire); }

 private:
  Mapping mapping_;
  std::atomic<bool> revoked_{false};  // release in revoke() pairs with acquire in revoked()
  std::atomic<bool> writable_{
      true};  // release in close_to_writes() pairs with acquire in writable()
};

// The regions that one peer process has announced over one link. Any thread.
class RegionTable {
 public:
  // The first announcement of an id stands.
  std::shared_ptr<PeerRegion> add(uint64_t id, int fd, size_t bytes);  // throws as PeerRegion
  std::shared_ptr<PeerRegion> find(uint64_t id) const noexcept;
  void revoke(uint64_t id) noexcept;
  void close_to_writes(uint64_t id) noexcept;

 private:
  mutable std::mutex mutex_;
  std::map<uint64_t, std::shared_ptr<PeerRegion>>
      regions_;  // shared with connections and windows that use them
};

}  // namespace tutti::transport::shm
