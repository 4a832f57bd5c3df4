// SPDX-License-Identifier: Apache-2.0
// Memory of every rank of a communicator that the others may write to.
#pragma once

#include <cstddef>
#include <memory>
#include <vector>

#include "src/base/memory_budget.h"
#include "src/comm/exposures.h"
#include "transport/transport.h"

namespace tutti::comm {

class Communicator;
class Transports;

class Window {
 public:
  // Collective. Throws InvalidArgument on every rank when one rank's memory can't be exposed,
  // naming it.
  static std::shared_ptr<Window> create(Communicator& comm, void* base, size_t bytes);
  ~Window();
  Window(const Window&) = delete;
  Window& operator=(const Window&) = delete;

  uint64_t comm_id() const noexcept { return comm_id_; }
  int rank() const noexcept { return rank_; }
  void* base() const noexcept { return base_; }  // of this rank's part
  size_t bytes_of(int peer) const noexcept { return sizes_[static_cast<size_t>(peer)]; }
  // Copies into the peer's part. The range was checked against bytes_of(). Throws Error.
  void put(int peer, size_t offset, const void* data, size_t bytes);

 private:
  Window(Communicator& comm, void* base);
  void import(const Transports& transports, const std::vector<std::vector<std::byte>>& parts);
  uint64_t comm_id_;
  int rank_;
  std::shared_ptr<Exposures> exposures_;  // shared: a window may outlive its communicator
  std::byte* base_;
  std::shared_ptr<MemoryBudget> account_;  // shared with the communicator, which may go first
  std::vector<MemoryCharge> charges_;
  std::vector<size_t> sizes_;  // by rank, bytes
  std::vector<std::unique_ptr<transport::RemoteRegion>>
      regions_;  // by rank; null for this rank and empty parts
};

}  // namespace tutti::comm
