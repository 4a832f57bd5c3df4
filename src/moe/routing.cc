// SPDX-License-Identifier: Apache-2.0
// One pass over the top-k table.
#include "src/moe/routing.h"

#include <algorithm>
#include <string>

#include "src/base/error.h"

namespace tutti::moe {

void Routing::clear(const Placement& placement) {
  tokens_ = 0;
  to_.resize(static_cast<size_t>(placement.n_ranks()));
  for (Destination& d : to_) {
    d.rows.clear();
    d.entries.clear();
  }
  first_hop_.assign(1, 0);
  hops_.clear();
  counts_.assign(placement.n_slots(), 0);
  masked_ = 0;
}

// Of experts that a token names twice the weights are summed.
void Routing::add(uint32_t token, const Placement::Home& home, float weight) {
  Destination& to = to_[static_cast<size_t>(home.rank)];
  if (to.rows.empty() || to.rows.back().token != token) {
    to.rows.push_back({.token = token, .first = static_cast<uint32_t>(to.entries.size())});
    touched_.push_back(home.rank);
  }
  RoutedRow& row = to.rows.back();
  const auto local = static_cast<uint32_t>(home.local);
  for (uint32_t i = 0; i < row.count; ++i) {
    Entry& known = to.entries[row.first + i];
    if (known.local != local) continue;
    known.weight += weight;
    return;
  }
  to.entries.push_back({local, weight});
  ++row.count;
}

void Routing::close(size_t token) {
  std::sort(touched_.begin(), touched_.end());
  for (const int rank : touched_)
    hops_.push_back({rank, static_cast<uint32_t>(to_[static_cast<size_t>(rank)].rows.size() - 1)});
  touched_.clear();
  first_hop_.push_back(hops_.size());
  tokens_ = token + 1;
}

void Routing::assign(const TopK& top_k, const std::vector<Placement::Home>& homes,
                     const Placement& placement) {
  clear(placement);
  for (size_t token = 0; token < top_k.tokens; ++token) {
    for (int j = 0; j < top_k.k; ++j) {
      const size_t at = token * static_cast<size_t>(top_k.k) + static_cast<size_t>(j);
      const int64_t expert = top_k.experts[at];
      if (expert == -1) continue;
      if (expert < 0 || expert >= static_cast<int64_t>(homes.size())) {
        clear(placement);
        throw Error(StatusCode::kInvalidArgument,
                    "topkIdx[" + std::to_string(token) + "][" + std::to_string(j) + "] is " +
                        std::to_string(expert) + "; allowed are -1 (none) and the experts 0 to " +
                        std::to_string(homes.size() - 1));
      }
      const Placement::Home& home = homes[static_cast<size_t>(expert)];
      if (home.rank < 0) {
        ++masked_;
        continue;
      }
      add(static_cast<uint32_t>(token), home, top_k.weights == nullptr ? 1.0F : top_k.weights[at]);
    }
    close(token);
  }
  for (int rank = 0; rank < placement.n_ranks(); ++rank) {
    for (const Entry& entry : to(rank).entries) ++counts_[placement.first_slot(rank) + entry.local];
  }
}

}  // namespace tutti::moe
