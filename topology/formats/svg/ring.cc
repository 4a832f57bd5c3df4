// SPDX-License-Identifier: Apache-2.0
// Improves the order of a circle by exchanging pairs and reversing stretches.
#include "topology/formats/svg/ring.h"

#include <algorithm>
#include <cstddef>
#include <numeric>

namespace tutti::topology::drawing {
namespace {

using Links = std::vector<std::pair<int, int>>;

// Crossings count most, then the lengths of links, in steps around the circle.
int cost(const std::vector<int>& order, const Links& links) {
  constexpr int kCrossing = 8;
  const int n = static_cast<int>(order.size());
  std::vector<int> place(order.size());
  for (int i = 0; i < n; ++i) place[order[i]] = i;
  Links chords;
  int sum = 0;
  for (const auto& [a, b] : links) {
    const auto [low, high] = std::minmax(place[a], place[b]);
    chords.emplace_back(low, high);
    sum += std::min(high - low, n - (high - low));
  }
  for (size_t i = 0; i < chords.size(); ++i)
    for (size_t j = i + 1; j < chords.size(); ++j) {
      const auto& [a, b] = chords[i];
      const auto& [c, d] = chords[j];
      if ((a < c && c < b && b < d) || (c < a && a < d && d < b)) sum += kCrossing;
    }
  return sum;
}

}  // namespace

std::vector<int> ring_order(int n, const Links& links) {
  std::vector<int> order(n);
  std::iota(order.begin(), order.end(), 0);
  const bool full = links.size() == static_cast<size_t>(n) * (n - 1) / 2;
  int best = full ? 0 : cost(order, links);
  for (bool better = !full; better;) {
    std::vector<int> next = order;
    for (int i = 1; i < n; ++i)
      for (int j = i + 1; j < n; ++j)
        for (const bool reverse : {false, true}) {
          std::vector<int> candidate = order;
          if (reverse)
            std::reverse(candidate.begin() + i, candidate.begin() + j + 1);
          else
            std::swap(candidate[i], candidate[j]);
          const int candidate_cost = cost(candidate, links);
          if (candidate_cost >= best) continue;
          best = candidate_cost;
          next = candidate;
        }
    better = next != order;
    order = next;
  }
  if (n > 2 && order[1] > order[n - 1]) std::reverse(order.begin() + 1, order.end());
  return order;
}

}  // namespace tutti::topology::drawing
