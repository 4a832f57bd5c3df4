// SPDX-License-Identifier: Apache-2.0
// Several ways for each block, chosen by how busy they are.
#include <algorithm>
#include <functional>
#include <limits>
#include <numeric>
#include <queue>
#include <utility>

#include "src/planner/alltoall/block_ways.h"

namespace tutti::planner {
namespace {

constexpr int kRounds = 40;
// An arc that is as busy as the goal allows costs 1; a hop that costs nobody anything, this much,
// and the greatest length, one of these.
constexpr double kPerHop = 1e-3;
constexpr double kPerLength[] = {0, 0.1, 1};

// x^16: multiplications alone, so that any machine gets the same bits.
double sharpened(double x) {
  for (int i = 0; i < 4; ++i) x *= x;
  return x;
}

class Spreading {
 public:
  Spreading(const FlowNetwork& network, const SpreadGoal& goal, int32_t chunks, double per_length)
      : network_(network),
        leaving_(static_cast<size_t>(network.n_nodes())),
        load_(network.arcs.size(), 0) {
    const auto greatest = static_cast<double>(*std::ranges::max_element(goal.lengths));
    for (size_t i = 0; i < network.arcs.size(); ++i) {
      least_cost_.push_back(kPerHop + per_length * static_cast<double>(goal.lengths[i]) / greatest);
      leaving_[network.arcs[i].from].push_back(static_cast<int32_t>(i));
      goal_.push_back(goal.time.value() * chunks * network.n_terminals *
                      static_cast<double>(network.arcs[i].capacity));
    }
  }

  void add(const std::vector<int32_t>& arcs, int64_t count) {
    for (const int32_t arc : arcs) load_[arc] += count;
  }

  // The way of least cost beside everything else.
  void move(BlockWay* way) {
    add(way->arcs, -1);
    search(way->source, way->sink);
    way->arcs.clear();
    for (int32_t node = way->sink; node != way->source; node = network_.arcs[into_[node]].from)
      way->arcs.push_back(into_[node]);
    std::ranges::reverse(way->arcs);
    add(way->arcs, 1);
  }

 private:
  double cost(int32_t arc) const {
    return least_cost_[arc] + sharpened(static_cast<double>(load_[arc] + 1) / goal_[arc]);
  }

  void search(int32_t source, int32_t sink) {
    using Entry = std::pair<double, int32_t>;
    std::priority_queue<Entry, std::vector<Entry>, std::greater<>> queue;
    distance_.assign(leaving_.size(), std::numeric_limits<double>::infinity());
    into_.assign(leaving_.size(), -1);
    distance_[source] = 0;
    queue.emplace(0, source);
    while (!queue.empty()) {
      const auto [distance, node] = queue.top();
      queue.pop();
      if (node == sink) return;
      if (distance != distance_[node]) continue;
      for (const int32_t arc : leaving_[node]) {
        const int32_t to = network_.arcs[arc].to;
        const double next = distance + cost(arc);
        if (!(next < distance_[to])) continue;
        distance_[to] = next;
        into_[to] = arc;
        queue.emplace(next, to);
      }
    }
  }

  const FlowNetwork& network_;
  std::vector<std::vector<int32_t>> leaving_;  // arcs, by node
  std::vector<int64_t> load_;                  // chunks, by arc
  std::vector<double> least_cost_;             // by arc
  std::vector<double> goal_;                   // chunks that the goal allows, by arc
  std::vector<double> distance_;               // of the last search, by node
  std::vector<int32_t> into_;                  // arc, by node
};

struct Best {
  BlockWays ways;
  Rational time;
};

// Each gets stuck in places of its own.
struct Manner {
  double per_length = 0;
  bool same_order = true;  // in each round; or one that begins elsewhere, and every other one back
};

void spread(const FlowNetwork& network, BlockWays ways, const SpreadGoal& goal,
            const Manner& manner, Best* best) {
  Spreading spreading(network, goal, ways.chunks_per_block, manner.per_length);
  for (const BlockWay& way : ways.ways) spreading.add(way.arcs, 1);
  std::vector<size_t> order(ways.ways.size());
  std::iota(order.begin(), order.end(), size_t{0});
  for (int round = 0; round < kRounds && goal.time < best->time; ++round) {
    if (!manner.same_order) {
      std::rotate(order.begin(), order.begin() + static_cast<std::ptrdiff_t>(order.size() / 3),
                  order.end());
      if (round % 2 == 1) std::ranges::reverse(order);
    }
    for (const size_t i : order) spreading.move(&ways.ways[i]);
    const Rational time = busiest_time(network, ways);
    if (!(time < best->time)) continue;
    best->time = time;
    best->ways = ways;
  }
}

}  // namespace

BlockWays spread_ways(const FlowNetwork& network, const BlockWays& ways, int32_t chunks,
                      const SpreadGoal& goal) {
  BlockWays start{.chunks_per_block = chunks, .ways = {}};
  for (const BlockWay& way : ways.ways)
    for (int32_t chunk = 0; chunk < chunks; ++chunk)
      start.ways.push_back({way.source, way.sink, chunk, way.arcs});
  Best best{start, busiest_time(network, start)};
  for (const double per_length : kPerLength)
    for (const bool same_order : {true, false})
      spread(network, start, goal, {per_length, same_order}, &best);
  return std::move(best.ways);
}

}  // namespace tutti::planner
