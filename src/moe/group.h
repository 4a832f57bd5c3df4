// SPDX-License-Identifier: Apache-2.0
// The ranks that dispatch to each other's experts: what they agreed on, and which of them take
// part.
#pragma once

#include <cstdint>
#include <memory>
#include <vector>

#include "src/comm/communicator.h"
#include "src/moe/context.h"
#include "src/moe/device_group.h"

namespace tutti::moe {

// Shared by its handles. One thread at a time, but for the counters.
class Group : public std::enable_shared_from_this<Group> {
 public:
  // Collective over the communicator. `error` is what this rank has found wrong so far (code kOk:
  // nothing); all ranks throw that of the lowest failing one. Also InvalidArgument naming a rank
  // whose configuration differs. `place` is this rank's number in the group.
  static std::shared_ptr<Group> create(comm::Communicator& comm, const Config& config, int place,
                                       const Error& error);

  const Facts& facts() const noexcept { return *facts_; }
  comm::Communicator& comm() const noexcept { return *comm_; }
  // Up to date: kernels count for themselves.
  Counters& counters() noexcept {
    if (device_ != nullptr) device_->add_to(counters_);
    return counters_;
  }
  // Null: a group of host ranks.
  DeviceGroup* device() const noexcept { return device_.get(); }
  const std::vector<bool>& active() const noexcept { return active_; }
  // By expert, where this rank's tokens go.
  const std::vector<Placement::Home>& homes() const noexcept { return homes_; }
  // Changes when other ranks take part: what was routed before is void.
  uint64_t epoch() const noexcept { return epoch_; }

  // A handle takes the lowest free number; throws InvalidUsage when all are taken.
  int take_slot();
  void give_slot(int slot) noexcept { slots_taken_[static_cast<size_t>(slot)] = false; }
  bool has_handles() const noexcept;
  std::unique_ptr<Mesh> make_mesh(int slot) const;

  // Gives the connections back. Collective while the communicator works; else it only frees.
  void close();

  // The active ranks go on without the others, over a communicator of their own. Collective over
  // those that stay active; the group's communicator may be broken. Ranks can only leave. Throws as
  // comm::shrink().
  void restrict_to(const std::vector<bool>& active);
  // Goes on over `comm`, which must have as many ranks as the group, each with a place of its own.
  // Collective over it; ranks that are new create the group meanwhile.
  void move_to(comm::Communicator& comm);

 private:
  Group(const Config& config, int place);
  void meet(comm::Communicator& comm, const Error& error);
  void join(std::shared_ptr<comm::Communicator> comm, const std::vector<int>& places,
            const comm::Exchange& exchange);

  std::unique_ptr<Facts> facts_;
  std::shared_ptr<comm::Communicator> comm_;  // shared with the user, who may destroy it first
  std::unique_ptr<DeviceGroup> device_;       // of that communicator
  std::vector<int> comm_ranks_;               // by rank of the group; -1: masked
  std::vector<bool> active_;
  std::vector<Placement::Home> homes_;
  uint64_t epoch_ = 0;
  uint64_t number_ = 0;  // of the groups of its communicator
  std::vector<bool> slots_taken_;
  Counters counters_;
};

}  // namespace tutti::moe
