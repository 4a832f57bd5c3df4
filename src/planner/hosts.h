// SPDX-License-Identifier: Apache-2.0
// Which ranks of a communicator share a host: what plans for several hosts are made from.
#pragma once

#include <cstdint>
#include <span>
#include <string>
#include <string_view>
#include <vector>

namespace tutti::planner {

// A value as small as a pointer. Hosts are numbered by their first rank, so that equal layouts are
// equal whatever the hosts are called, and on every rank. Each layout is kept once per process, for
// as long as it lives, like the plans that are made for it.
class Hosts {
 public:
  // All ranks on one host.
  Hosts() = default;
  // By rank, whatever names the rank's host. One host gives Hosts().
  static Hosts of(std::span<const uint64_t> host_by_rank);
  // "3x2" (hosts x ranks, in rank order) or "0,0,1,1" (the host of each rank, by number). Throws
  // InvalidArgument that begins with `what` and says what is allowed.
  static Hosts parse(std::string_view text, int32_t n_ranks, const std::string& what);

  bool several() const noexcept { return table_ != nullptr; }
  // Several hosts, and one with several ranks: only then there are two levels.
  bool layered() const noexcept;
  // The same where plans tell them apart: Hosts() unless layered().
  Hosts for_plans() const noexcept { return layered() ? *this : Hosts(); }

  // The following only where several().
  int32_t n_ranks() const noexcept;
  int32_t n_hosts() const noexcept;
  int32_t host_of(int32_t rank) const noexcept;
  // Ascending.
  const std::vector<int32_t>& ranks_of(int32_t host) const noexcept;
  int32_t fewest_ranks() const noexcept;  // of a host
  int32_t most_ranks() const noexcept;

  // "3x2", or the hosts of all ranks; "1 host".
  std::string text() const;
  // Tells layouts of this process apart.
  uintptr_t id() const noexcept { return reinterpret_cast<uintptr_t>(table_); }
  bool operator==(const Hosts&) const = default;

 private:
  struct Table;
  explicit Hosts(const Table* table) : table_(table) {}
  static const Table* kept(std::vector<int32_t> host_by_rank);

  const Table* table_ = nullptr;  // null: one host
};

// How many ranks a layout's text is for; 0 when it is no layout.
int32_t ranks_in_layout(std::string_view text) noexcept;

// The hosts as groups of their ranks in the order of hosts, beginning with the host of `first`; its
// group begins with `first`. One group in rank order from `first`, and then from 0, where there is
// one host. What goes from one to the next in this order crosses each border once.
std::vector<int32_t> in_host_order(const Hosts& hosts, int32_t n_ranks, int32_t first);

}  // namespace tutti::planner
