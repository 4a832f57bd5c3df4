// SPDX-License-Identifier: Apache-2.0
// What the algorithms of two levels share: hosts as groups of ranks, and rails between them
// (docs/design/hierarchical.md).
#pragma once

#include <cstdint>
#include <utility>
#include <vector>

#include "src/planner/algorithms/builder.h"
#include "src/planner/planner.h"

namespace tutti::planner {

// While the network has one tile, hosts work on the ones before and behind it. More would hide
// nothing, and make plans longer to prove.
inline constexpr int32_t kTilesOnLevels = 4;

// Each host's ranks have places 0, 1, ... there, in rank order. Rail r joins the ranks at place r
// of all hosts, its owners; there are as many rails as the smallest host has ranks, so where hosts
// are alike each rank owns one. What an owner sends to the next host goes by the network; what the
// host's other ranks have to do with the rail, they do with its owner.
class Rails {
 public:
  // The request has hosts.
  explicit Rails(const PlanRequest& request);

  int32_t hosts() const { return static_cast<int32_t>(ranks_.size()); }
  int32_t rails() const { return rails_; }
  const std::vector<int32_t>& ranks(int32_t host) const {
    return ranks_[static_cast<size_t>(host)];
  }
  int32_t size(int32_t host) const { return static_cast<int32_t>(ranks(host).size()); }
  int32_t rank(int32_t host, int32_t place) const {
    return ranks(host)[static_cast<size_t>(place)];
  }
  int32_t host_of(int32_t rank) const { return host_of_[static_cast<size_t>(rank)]; }
  int32_t place_of(int32_t rank) const { return place_of_[static_cast<size_t>(rank)]; }
  bool owns(int32_t rank, int32_t rail) const { return place_of(rank) == rail; }

  // The rank takes the first place of its host (a root that shall lead it).
  void put_first(int32_t rank);
  // The rank owns a rail; in exchange with one of its host that does.
  void make_owner(int32_t rank);

  // The other ranks of its host, nearest above first, so that not all begin with the same one.
  Operands others(int32_t rank, int32_t channel = 0) const;
  // What the host's ranks contribute, in their order: messages of the others, and `own`.
  Operands contributions(int32_t rank, int32_t channel = 0) const;

 private:
  void exchange(int32_t host, int32_t place, int32_t other);

  std::vector<std::vector<int32_t>> ranks_;  // by host and place
  std::vector<int32_t> host_of_;
  std::vector<int32_t> place_of_;
  int32_t rails_ = 0;
};

Operands joined(Operands first, const Operands& more);

// For AlgorithmRow::supports: two levels, and hosts that are small enough for everybody on them to
// talk to everybody.
bool two_levels(const PlanRequest& request);
inline constexpr const char* kTwoLevels =
    "several hosts, at least one of them with several ranks, none with more than 64";
static_assert(kMaxDirectRanks == 64, "kTwoLevels says so");
// The same, and few hosts.
bool two_levels_few_hosts(const PlanRequest& request);
inline constexpr const char* kTwoLevelsFewHosts =
    "2 to 64 hosts, at least one of them with several ranks, none with more than 64";
// The same, with a power of two of hosts.
bool two_levels_power_of_two(const PlanRequest& request);
inline constexpr const char* kTwoLevelsPowerOfTwo =
    "a power of two of hosts, at least one of them with several ranks, none with more than 64";

// For cost functions, which count what happens within hosts: all hosts as large as the largest.
struct HostCounts {
  explicit HostCounts(const CostInput& input);
  double hosts;
  double local;
  double log_hosts;  // rounds of a binomial tree over the hosts
};

}  // namespace tutti::planner
