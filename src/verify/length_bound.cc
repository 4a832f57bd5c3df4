// SPDX-License-Identifier: Apache-2.0
// Dijkstra's algorithm in whole numbers, from every rank.
#include "src/verify/length_bound.h"

#include <functional>
#include <queue>
#include <utility>

#include <spdlog/fmt/fmt.h>

namespace tutti::verify {
namespace {

using Reason = std::optional<std::string>;
using Wide = Rational::Wide;

// So that sums over all links and pairs of any graph fit into a Wide.
constexpr int64_t kMostLength = int64_t{1} << 30;
constexpr int64_t kNoWay = INT64_MAX;

struct Way {
  int32_t to = 0;
  int64_t length = 0;
};
using Ways = std::vector<std::vector<Way>>;  // by node that they begin at

Reason read_lengths(const topology::Graph& graph,
                    const std::vector<std::array<int64_t, 2>>& lengths, Ways* ways, Wide* room) {
  if (lengths.size() != graph.links.size())
    return fmt::format("lengths: expected one for each of {} links, got {}", graph.links.size(),
                       lengths.size());
  ways->resize(graph.nodes.size());
  for (size_t i = 0; i < lengths.size(); ++i) {
    const topology::Link& link = graph.links[i];
    for (const int64_t length : lengths[i])
      if (length < 0 || length > kMostLength)
        return fmt::format("lengths: link {}: expected 0 to {}, got {}", i, kMostLength, length);
    if (link.forward_mbit_s > 0) {
      (*ways)[link.from].push_back({link.to, lengths[i][0]});
      *room += static_cast<Wide>(link.forward_mbit_s) * lengths[i][0];
    }
    if (link.reverse_mbit_s > 0) {
      (*ways)[link.to].push_back({link.from, lengths[i][1]});
      *room += static_cast<Wide>(link.reverse_mbit_s) * lengths[i][1];
    }
  }
  return std::nullopt;
}

std::vector<int64_t> distances(const Ways& ways, int32_t source) {
  using Entry = std::pair<int64_t, int32_t>;
  std::vector<int64_t> distance(ways.size(), kNoWay);
  std::priority_queue<Entry, std::vector<Entry>, std::greater<>> queue;
  distance[source] = 0;
  queue.emplace(0, source);
  while (!queue.empty()) {
    const auto [so_far, node] = queue.top();
    queue.pop();
    if (so_far != distance[node]) continue;
    for (const Way& way : ways[node]) {
      if (so_far + way.length >= distance[way.to]) continue;
      distance[way.to] = so_far + way.length;
      queue.emplace(distance[way.to], way.to);
    }
  }
  return distance;
}

}  // namespace

Reason bound_by_lengths(const topology::Graph& graph, const std::vector<int32_t>& nodes,
                        const std::vector<std::array<int64_t, 2>>& lengths, Rational* bound) {
  if (nodes.size() < 2) return "lengths: expected two ranks or more, one has nothing to send";
  Ways ways;
  Wide room = 0;
  if (Reason why = read_lengths(graph, lengths, &ways, &room)) return why;
  if (room == 0) return "lengths: no link that is up has any";
  Wide total = 0;
  for (const int32_t from : nodes) {
    const std::vector<int64_t> distance = distances(ways, from);
    for (const int32_t to : nodes) {
      if (distance[to] == kNoWay)
        return fmt::format("lengths: no way leads from {} to {}, so no plan can be right",
                           graph.nodes[from].id, graph.nodes[to].id);
      total += distance[to];
    }
  }
  *bound = Rational::of_wide(total, room * static_cast<Wide>(nodes.size()));  // throws
  return std::nullopt;
}

}  // namespace tutti::verify
