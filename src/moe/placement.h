// SPDX-License-Identifier: Apache-2.0
// Which rank computes which expert for whom.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <vector>

#include "src/moe/config.h"

namespace tutti::moe {

// Ranks are those of the group. A replica of an expert on a rank is a *slot*; slots are numbered
// rank by rank, and on a rank in the order of its experts.
class Placement {
 public:
  struct Home {
    int rank = -1;  // -1: nobody that takes part has it
    int local = 0;  // number of the slot on that rank
  };
  explicit Placement(const Config& config);

  int n_ranks() const noexcept { return static_cast<int>(experts_of_.size()); }
  size_t n_slots() const noexcept { return first_slot_.back(); }
  size_t first_slot(int rank) const noexcept { return first_slot_[static_cast<size_t>(rank)]; }
  size_t slots_of(int rank) const noexcept { return experts_of_[static_cast<size_t>(rank)].size(); }
  size_t most_slots() const noexcept;
  const std::vector<int>& experts_of(int rank) const noexcept {
    return experts_of_[static_cast<size_t>(rank)];
  }

  // By expert, where tokens of rank `source` go: to itself where it has the expert, else to a rank
  // of its host, else to one that follows from its number, so that replicas share the load. Only
  // ranks with active[rank].
  std::vector<Home> homes_for(int source, const std::vector<bool>& active,
                              std::span<const int> host_of) const;

 private:
  std::vector<std::vector<int>> experts_of_;
  std::vector<size_t> first_slot_;        // by rank, and one more
  std::vector<std::vector<Home>> homes_;  // by expert, ascending by rank
};

// Rows that a rank can receive at most.
size_t most_receive_rows(const Config& config, const Placement& placement, int rank) noexcept;
// What its buffers must hold: the most, or config.max_receive_rows where that is less.
size_t receive_capacity(const Config& config, const Placement& placement, int rank) noexcept;
// No routing can be too much for any rank.
bool never_overflows(const Config& config, const Placement& placement) noexcept;

}  // namespace tutti::moe
