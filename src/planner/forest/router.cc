// SPDX-License-Identifier: Apache-2.0
// Breadth first, the widest of the shortest ways.
#include "src/planner/forest/router.h"

#include <algorithm>
#include <functional>
#include <limits>

namespace tutti::planner {

Router::Router(const FlowNetwork& network)
    : network_(network),
      leaving_(static_cast<size_t>(network.n_nodes())),
      entering_(static_cast<size_t>(network.n_nodes())) {
  for (size_t i = 0; i < network.arcs.size(); ++i) {
    const FlowNetwork::Arc& arc = network.arcs[i];
    left_.push_back(arc.capacity);
    leaving_[arc.from].push_back(static_cast<int32_t>(i));
    entering_[arc.to].push_back(static_cast<int32_t>(i));
    const auto link = static_cast<size_t>(arc.hop.link);
    if (arc_of_link_.size() <= link) arc_of_link_.resize(link + 1, {-1, -1});
    arc_of_link_[link][arc.hop.reverse ? 1 : 0] = static_cast<int32_t>(i);
  }
}

void Router::spread(int32_t node, int64_t least, Ways* ways, std::vector<int32_t>* next) const {
  const Ways::Reached from = ways->nodes[node];
  for (const int32_t index : leaving_[node]) {
    if (left_[index] < least) continue;
    const int32_t to = network_.arcs[index].to;
    Ways::Reached& there = ways->nodes[to];
    const int64_t width = std::min(from.width, left_[index]);
    const bool is_new = there.hops < 0;
    if (!is_new && !(there.hops == from.hops + 1 && width > there.width)) continue;
    there = {index, from.hops + 1, width};
    if (is_new) next->push_back(to);
  }
}

Ways Router::ways_from(int32_t from, int64_t least) const {
  Ways ways{.from = from,
            .least = least,
            .nodes = std::vector<Ways::Reached>(static_cast<size_t>(network_.n_nodes()))};
  ways.nodes[from] = {.arc = -1, .hops = 0, .width = std::numeric_limits<int64_t>::max()};
  // One distance after the other, so that widths are final before they are passed on.
  for (std::vector<int32_t> now{from}; !now.empty();) {
    std::vector<int32_t> next;
    for (const int32_t node : now)
      if (node == from || node >= network_.n_terminals) spread(node, least, &ways, &next);
    now = std::move(next);
  }
  return ways;
}

// Of the arcs that end a way as good as the best.
int32_t Router::arc_back(const Ways& ways, int32_t node, int32_t spread) const {
  const Ways::Reached& here = ways.nodes[node];
  std::vector<int32_t> equal;
  for (const int32_t index : entering_[node]) {
    const int32_t before = network_.arcs[index].from;
    const Ways::Reached& there = ways.nodes[before];
    const bool passes = before == ways.from || before >= network_.n_terminals;
    if (passes && there.hops == here.hops - 1 && left_[index] >= ways.least &&
        std::min(there.width, left_[index]) == here.width)
      equal.push_back(index);
  }
  return equal[static_cast<size_t>(spread) % equal.size()];
}

Wire Router::wire_to(const Ways& ways, int32_t to, int32_t spread) const {
  Wire wire{.from = ways.from, .to = to, .amount = ways.nodes[to].width, .hops = {}};
  for (int32_t node = to; node != ways.from;) {
    const FlowNetwork::Arc& arc = network_.arcs[arc_back(ways, node, spread)];
    wire.hops.push_back(arc.hop);
    node = arc.from;
  }
  std::reverse(wire.hops.begin(), wire.hops.end());
  return wire;
}

void Router::take(const Wire& wire, int64_t amount) {
  for (const verify::Hop& hop : wire.hops)
    left_[arc_of_link_[hop.link][hop.reverse ? 1 : 0]] -= amount;
}

std::vector<int64_t> Router::amounts_left() const {
  std::vector<int64_t> amounts(left_);
  std::sort(amounts.begin(), amounts.end(), std::greater<>());
  amounts.erase(std::unique(amounts.begin(), amounts.end()), amounts.end());
  while (!amounts.empty() && amounts.back() <= 0) amounts.pop_back();
  return amounts;
}

}  // namespace tutti::planner
