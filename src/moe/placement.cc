// SPDX-License-Identifier: Apache-2.0
// Deals out experts, and chooses among replicas.
#include "src/moe/placement.h"

#include <algorithm>

namespace tutti::moe {
namespace {

// The first ranks have one more where the numbers do not divide.
std::vector<std::vector<int>> dealt_out(int n_experts, int n_ranks) {
  std::vector<std::vector<int>> experts_of(static_cast<size_t>(n_ranks));
  int next = 0;
  for (int rank = 0; rank < n_ranks; ++rank) {
    const int count = n_experts / n_ranks + (rank < n_experts % n_ranks ? 1 : 0);
    for (int i = 0; i < count; ++i) experts_of[static_cast<size_t>(rank)].push_back(next++);
  }
  return experts_of;
}

size_t aligned(size_t rows, size_t alignment) noexcept {
  return (rows + alignment - 1) / alignment * alignment;
}

}  // namespace

Placement::Placement(const Config& config)
    : experts_of_(config.experts_of.empty() ? dealt_out(config.n_experts, config.n_ranks)
                                            : config.experts_of),
      first_slot_{0},
      homes_(static_cast<size_t>(config.n_experts)) {
  for (size_t rank = 0; rank < experts_of_.size(); ++rank) {
    const std::vector<int>& experts = experts_of_[rank];
    for (size_t local = 0; local < experts.size(); ++local) {
      homes_[static_cast<size_t>(experts[local])].push_back(
          {static_cast<int>(rank), static_cast<int>(local)});
    }
    first_slot_.push_back(first_slot_.back() + experts.size());
  }
}

size_t Placement::most_slots() const noexcept {
  size_t most = 0;
  for (const auto& experts : experts_of_) most = std::max(most, experts.size());
  return most;
}

std::vector<Placement::Home> Placement::homes_for(int source, const std::vector<bool>& active,
                                                  std::span<const int> host_of) const {
  std::vector<Home> result;
  const int host = host_of[static_cast<size_t>(source)];
  for (const std::vector<Home>& all : homes_) {
    std::vector<Home> near, far;
    Home own;
    for (const Home& home : all) {
      if (!active[static_cast<size_t>(home.rank)]) continue;
      if (home.rank == source) own = home;
      (host_of[static_cast<size_t>(home.rank)] == host ? near : far).push_back(home);
    }
    const std::vector<Home>& best = near.empty() ? far : near;
    if (own.rank >= 0 || best.empty()) {
      result.push_back(own);
    } else {
      result.push_back(best[static_cast<size_t>(source) % best.size()]);
    }
  }
  return result;
}

size_t most_receive_rows(const Config& config, const Placement& placement, int rank) noexcept {
  const size_t tokens = static_cast<size_t>(config.n_ranks) * config.max_tokens;
  const size_t slots = placement.slots_of(rank);
  if (config.layout == Layout::kRankMajor) return slots == 0 ? 0 : tokens;
  const size_t copies = std::min(slots, static_cast<size_t>(config.max_top_k));
  // Rows beyond the first of an expert fill the gap behind it.
  return aligned(tokens * copies + slots * (config.alignment - 1), config.alignment);
}

size_t receive_capacity(const Config& config, const Placement& placement, int rank) noexcept {
  const size_t most = most_receive_rows(config, placement, rank);
  return config.max_receive_rows == 0 ? most : std::min(most, config.max_receive_rows);
}

bool never_overflows(const Config& config, const Placement& placement) noexcept {
  for (int rank = 0; rank < placement.n_ranks(); ++rank) {
    if (receive_capacity(config, placement, rank) < most_receive_rows(config, placement, rank))
      return false;
  }
  return true;
}

}  // namespace tutti::moe
