// SPDX-License-Identifier: Apache-2.0
// What a group of GPUs has besides: an area of each GPU that the GPUs of all ranks reach, with
// tables and a part for each handle, and what kernels tell the host.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <mutex>
#include <optional>
#include <vector>

#include "src/comm/communicator.h"
#include "src/device/cuda/memory.h"
#include "src/moe/device_layout.h"

namespace tutti::moe {

// Rows of a dispatch that has ended.
struct DeviceReport {
  uint64_t rows = 0, demand = 0, dropped = 0, dropped_of_mine = 0, dropped_by_all = 0;
  int overflowed_rank = -1;  // the first that would receive too many rows
  uint64_t overflow_demand = 0;
  std::optional<uint64_t> unknown;  // the first place of the top-k table that is no expert
};

class DeviceGroup {
 public:
  struct Members {
    const Facts& facts;
    const std::vector<int>& comm_ranks;  // by rank of the group; -1: has left
    const std::vector<Placement::Home>& homes;
  };
  // Collective over the communicator, whose ranks are all of GPUs. Throws InvalidUsage on all ranks
  // alike where these can't reach each other's memory. The communicator outlives the group.
  static std::unique_ptr<DeviceGroup> create(comm::Communicator& comm, const Members& members,
                                             const comm::Exchange& exchange);
  // Waits for kernels; what one that does not end may use is not freed.
  ~DeviceGroup();
  DeviceGroup(const DeviceGroup&) = delete;
  DeviceGroup& operator=(const DeviceGroup&) = delete;

  // For calls of the handle; without its routing, its buffers and its signature.
  gpu::MoeArgs args_of(int slot) const;
  // In memory of the GPU: counts, received, aligned, offsets of each block; and the totals.
  const gpu::MoeOwn& own(int slot) const noexcept { return own_[static_cast<size_t>(slot)]; }
  size_t blocks_of_rows() const noexcept;
  // Of the handle's last dispatch; nullopt while one is under way.
  std::optional<DeviceReport> report(int slot) const noexcept;
  // Adds what kernels have counted since the last time. Any thread.
  void add_to(Counters& counters) noexcept;

 private:
  struct Shown;
  DeviceGroup(comm::Communicator& comm, const Members& members, unsigned blocks);
  void make_memory(const comm::Exchange& exchange);
  void fill(const Members& members);
  gpu::MoeOwn own_of(int slot) const;
  std::byte* area() const noexcept;

  comm::Communicator& comm_;
  const Facts& facts_;
  const DeviceLayout layout_;
  std::unique_ptr<comm::SymmetricMemory> memory_;
  std::unique_ptr<cuda::PinnedMemory> shown_;  // a Shown
  gpu::MoeArgs common_{};
  std::vector<gpu::MoeOwn> own_;  // by slot
  std::mutex mutex_;              // guards seen_
  gpu::MoeTotals seen_{};
};

}  // namespace tutti::moe
