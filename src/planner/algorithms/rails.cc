// SPDX-License-Identifier: Apache-2.0
// Places of ranks on their hosts, and what follows for the rails.
#include "src/planner/algorithms/rails.h"

#include <bit>

#include "src/planner/algorithms/hypercube.h"

namespace tutti::planner {

Rails::Rails(const PlanRequest& request)
    : host_of_(static_cast<size_t>(request.n_ranks)),
      place_of_(static_cast<size_t>(request.n_ranks)),
      rails_(request.hosts.fewest_ranks()) {
  for (int32_t host = 0; host < request.hosts.n_hosts(); ++host) {
    ranks_.push_back(request.hosts.ranks_of(host));
    for (int32_t place = 0; place < size(host); ++place) {
      host_of_[static_cast<size_t>(rank(host, place))] = host;
      place_of_[static_cast<size_t>(rank(host, place))] = place;
    }
  }
}

void Rails::exchange(int32_t host, int32_t place, int32_t other) {
  std::vector<int32_t>& ranks = ranks_[static_cast<size_t>(host)];
  std::swap(ranks[static_cast<size_t>(place)], ranks[static_cast<size_t>(other)]);
  for (const int32_t p : {place, other}) place_of_[static_cast<size_t>(rank(host, p))] = p;
}

void Rails::put_first(int32_t rank) { exchange(host_of(rank), place_of(rank), 0); }

void Rails::make_owner(int32_t rank) {
  if (place_of(rank) >= rails_) exchange(host_of(rank), place_of(rank), place_of(rank) % rails_);
}

Operands Rails::others(int32_t rank, int32_t channel) const {
  const int32_t host = host_of(rank);
  Operands peers;
  for (int32_t i = 1; i < size(host); ++i)
    peers.push_back(peer(this->rank(host, (place_of(rank) + i) % size(host)), channel));
  return peers;
}

Operands Rails::contributions(int32_t rank, int32_t channel) const {
  Operands operands;
  for (const int32_t other : ranks(host_of(rank)))
    operands.push_back(other == rank ? scaled_input() : peer(other, channel));
  return operands;
}

Operands joined(Operands first, const Operands& more) {
  first.insert(first.end(), more.begin(), more.end());
  return first;
}

bool two_levels(const PlanRequest& request) {
  return request.hosts.layered() && request.hosts.most_ranks() <= kMaxDirectRanks;
}
bool two_levels_few_hosts(const PlanRequest& request) {
  return two_levels(request) && request.hosts.n_hosts() <= kMaxDirectRanks;
}
bool two_levels_power_of_two(const PlanRequest& request) {
  return two_levels(request) && std::has_single_bit(static_cast<uint32_t>(request.hosts.n_hosts()));
}

HostCounts::HostCounts(const CostInput& input)
    : hosts(input.hosts.several() ? input.hosts.n_hosts() : 1),
      local(input.hosts.several() ? input.hosts.most_ranks() : input.n_ranks),
      log_hosts(ceil_log2(static_cast<int32_t>(hosts))) {}

}  // namespace tutti::planner
