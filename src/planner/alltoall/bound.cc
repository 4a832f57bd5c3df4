// SPDX-License-Identifier: Apache-2.0
// Makes whole numbers of the program's lengths, and measures with them.
#include "src/planner/alltoall/bound.h"

#include <algorithm>
#include <cmath>
#include <functional>
#include <iterator>
#include <numeric>
#include <optional>
#include <queue>
#include <set>
#include <utility>

#include "src/base/error.h"
#include "src/planner/alltoall/concurrent_flow.h"
#include "src/planner/alltoall/cuts.h"
#include "src/planner/forest/bound.h"

namespace tutti::planner {
namespace {

// Of n times the sum of capacity times length, in Mbit/s: bounds stay fractions of 64-bit numbers
// for capacities in GB/s too.
constexpr double kMostLengthTimesCapacity = 1e18 / topology::kMbitPerGigabyte;
constexpr double kFinestRounding = 1e6;

class Distances {
 public:
  Distances(const FlowNetwork& network, const std::vector<int64_t>& lengths)
      : leaving_(static_cast<size_t>(network.n_nodes())) {
    for (size_t i = 0; i < network.arcs.size(); ++i)
      leaving_[network.arcs[i].from].emplace_back(network.arcs[i].to, lengths[i]);
  }

  // To all nodes.
  const std::vector<int64_t>& from(int32_t source) {
    distance_.assign(leaving_.size(), INT64_MAX);
    distance_[source] = 0;
    queue_.emplace(0, source);
    while (!queue_.empty()) {
      const auto [distance, node] = queue_.top();
      queue_.pop();
      if (distance != distance_[node]) continue;
      for (const auto& [to, length] : leaving_[node]) {
        if (distance + length >= distance_[to]) continue;
        distance_[to] = distance + length;
        queue_.emplace(distance_[to], to);
      }
    }
    return distance_;
  }

 private:
  using Entry = std::pair<int64_t, int32_t>;
  std::vector<std::vector<std::pair<int32_t, int64_t>>> leaving_;  // where to, how long; by node
  std::vector<int64_t> distance_;
  std::priority_queue<Entry, std::vector<Entry>, std::greater<>> queue_;
};

std::vector<int64_t> rounded(const std::vector<double>& lengths, double scale) {
  std::vector<int64_t> whole;
  whole.reserve(lengths.size());
  for (const double length : lengths) whole.push_back(std::llround(length * scale));
  return whole;
}

// In the program's optimum lengths are fractions, mostly with a small common denominator: whole
// multiples of the greatest length divided by it are exact. Where there is none, a millionth of the
// greatest is as good as the solver.
std::vector<int64_t> whole_lengths(const FlowNetwork& network, const std::vector<double>& lengths) {
  constexpr int kMostDenominator = 1000;
  constexpr double kTolerance = 1e-6;
  const double greatest = *std::ranges::max_element(lengths);
  for (int denominator = 1; denominator <= kMostDenominator; ++denominator) {
    const double scale = denominator / greatest;
    const bool fits = std::ranges::all_of(lengths, [&](double length) {
      return std::abs(length * scale - std::round(length * scale)) <= kTolerance * denominator;
    });
    if (fits) return rounded(lengths, scale);
  }
  double capacity = 0;
  for (const FlowNetwork::Arc& arc : network.arcs) capacity += static_cast<double>(arc.capacity);
  capacity *= static_cast<double>(network.unit_mbit_s) * network.n_terminals;
  return rounded(lengths,
                 std::clamp(kMostLengthTimesCapacity / capacity, 1.0, kFinestRounding) / greatest);
}

// Everything within some distance of a terminal: where one cut holds the network back, its arcs are
// the ones with lengths, and these are its sides.
void add_neighbourhoods(const FlowNetwork& network, const std::vector<int64_t>& lengths,
                        std::vector<std::vector<bool>>* sides) {
  constexpr int32_t kMostTerminals = 16;
  constexpr size_t kMostRadii = 4;
  Distances distances(network, lengths);
  for (int32_t t = 0; t < std::min(network.n_terminals, kMostTerminals); ++t) {
    const std::vector<int64_t>& distance = distances.from(t);
    std::set<int64_t> radii(distance.begin(), distance.begin() + network.n_terminals);
    radii.erase(std::prev(radii.end()));  // everything is within the largest
    while (radii.size() > kMostRadii) radii.erase(std::prev(radii.end()));
    for (const int64_t radius : radii) {
      std::vector<bool> side(distance.size());
      for (size_t node = 0; node < side.size(); ++node) side[node] = distance[node] <= radius;
      sides->push_back(std::move(side));
    }
  }
}

std::vector<int64_t> lengths_of_cut(const FlowNetwork& network, const std::vector<bool>& inside) {
  std::vector<int64_t> lengths;
  lengths.reserve(network.arcs.size());
  for (const FlowNetwork::Arc& arc : network.arcs)
    lengths.push_back(inside[arc.from] && !inside[arc.to] ? 1 : 0);
  return lengths;
}

}  // namespace

Rational length_ratio(const FlowNetwork& network, const std::vector<int64_t>& lengths) {
  Distances distances(network, lengths);
  Rational::Wide distance = 0;
  for (int32_t t = 0; t < network.n_terminals; ++t) {
    const std::vector<int64_t>& from = distances.from(t);
    distance += std::accumulate(from.begin(), from.begin() + network.n_terminals, int64_t{0});
  }
  Rational::Wide room = 0;
  for (size_t i = 0; i < lengths.size(); ++i)
    room += Rational::Wide{network.arcs[i].capacity} * lengths[i];
  if (room == 0) throw Error(StatusCode::kInternalError, "all_to_all: all lengths are 0");
  return Rational::of_wide(distance, room * network.n_terminals);
}

AllToAllBound all_to_all_bound(const FlowNetwork& network, const topology::Graph& graph,
                               const BoundEffort& effort) {
  AllToAllBound bound;
  if (network.n_terminals == 1) {
    bound.inside.assign(static_cast<size_t>(network.n_nodes()), true);
    bound.lengths.assign(network.arcs.size(), 0);
    return bound;
  }
  // Says so when somebody can't be reached.
  std::vector<std::vector<bool>> sides{all_gather_bound(network, graph).inside};
  const std::optional<ConcurrentFlow> flow = concurrent_flow(network, effort.most_variables);
  if (flow) {
    bound.optimal = flow->exact;
    bound.lengths = whole_lengths(network, flow->lengths);
    bound.inverse_rate = length_ratio(network, bound.lengths);
    add_neighbourhoods(network, bound.lengths, &sides);
  }
  bound.inside = best_separation(network, graph, sides);
  bound.cut = separation_ratio(network, bound.inside);
  std::vector<int64_t> lengths = lengths_of_cut(network, bound.inside);
  const Rational ratio = length_ratio(network, lengths);
  if (!(ratio > bound.inverse_rate)) return bound;
  bound.inverse_rate = ratio;
  bound.lengths = std::move(lengths);
  return bound;
}

}  // namespace tutti::planner
