// SPDX-License-Identifier: Apache-2.0
// A dispatch or combine of ranks of GPUs, or a phase of it: kernels in the user's stream. The host
// decides nothing that depends on a routing, so a graph that has captured them can be replayed.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <optional>
#include <utility>

#include "src/comm/calls.h"
#include "src/moe/device_group.h"
#include "src/moe/group.h"
#include "src/moe/routing.h"

namespace tutti::moe {

// What of a call is to be done.
struct Phases {
  bool send = true;
  bool receive = true;
};

// Of a handle, between its calls. One thread at a time.
class DeviceHandle : public std::enable_shared_from_this<DeviceHandle> {
 public:
  DeviceHandle(std::shared_ptr<Group> group, int slot) : group_(std::move(group)), slot_(slot) {}

  // The table is read by kernels, of each dispatch. Throws InvalidArgument where they can't.
  void route(const TopK& top_k);
  size_t tokens() const noexcept { return top_k_.tokens; }

  // As calls of the communicator. Pointers are those of the user; throw InvalidArgument where
  // kernels can't reach them. `stream`: CUDA's.
  std::shared_ptr<comm::OrderedTask> dispatch(const std::byte* input, const Output& output,
                                              Phases phases, void* stream);
  std::shared_ptr<comm::OrderedTask> combine(const std::byte* rows, std::byte* output,
                                             Phases phases, void* stream);

  // Of the last dispatch; nullopt while one is under way.
  std::optional<DeviceReport> report() const noexcept;
  // In memory of the GPU.
  const gpu::MoeOwn& own() const noexcept { return group_->device()->own(slot_); }
  size_t blocks_of_rows() const noexcept { return group_->device()->blocks_of_rows(); }

 private:
  class Task;
  gpu::MoeArgs args() const;
  uint32_t sign(uint64_t kind);

  const std::shared_ptr<Group> group_;  // shared: queued calls keep its memory
  const int slot_;
  TopK top_k_;  // where kernels reach it
  gpu::MoeBuffers user_{};
  uint64_t calls_ = 0;      // sent so far
  uint32_t signature_ = 0;  // of the last one
  // Executor's number of the last launch of a dispatch that was issued to run; 0: none.
  uint64_t last_launch_ = 0;
};

}  // namespace tutti::moe
