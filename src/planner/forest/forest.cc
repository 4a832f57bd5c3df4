// SPDX-License-Identifier: Apache-2.0
// Chooses how many trees there are and how much each carries.
#include "src/planner/forest/forest.h"

#include <algorithm>
#include <numeric>
#include <set>

#include <spdlog/fmt/fmt.h>

#include "src/base/error.h"

namespace tutti::planner {
namespace {

__extension__ using Wide = __int128;

// More would make messages too small and plans too large to be of use, where less than the bound is
// asked for.
constexpr int64_t kMostTrees = 256;

int64_t ceil_of(Wide numerator, Wide denominator) {
  return static_cast<int64_t>((numerator + denominator - 1) / denominator);
}

std::set<int64_t> capacities_of(const FlowNetwork& network) {
  std::set<int64_t> capacities;
  for (const FlowNetwork::Arc& arc : network.arcs) capacities.insert(arc.capacity);
  return capacities;
}

// Trees per unit of capacity at which some arc has room for one more, ascending: s from k * bound
// to k * slowest.
std::vector<Rational> scales(const FlowNetwork& network, int64_t k, const Rational& bound,
                             const Rational& slowest) {
  std::vector<Rational> found;
  for (const int64_t c : capacities_of(network)) {
    const int64_t first = ceil_of(Wide{c} * k * bound.numerator, bound.denominator);
    const auto last = static_cast<int64_t>(Wide{c} * k * slowest.numerator / slowest.denominator);
    constexpr int64_t kMostSteps = 4096;
    for (int64_t m = std::max<int64_t>(first, 1); m <= std::min(last, first + kMostSteps); ++m)
      found.push_back(Rational::of(m, c));
  }
  std::sort(found.begin(), found.end());
  found.erase(std::unique(found.begin(), found.end()), found.end());
  return found;
}

// k with which every capacity holds a whole number of trees at the bound.
int64_t exact_trees(const FlowNetwork& network, const Rational& bound) {
  int64_t common = bound.denominator;
  for (const FlowNetwork::Arc& arc : network.arcs) common = std::gcd(common, arc.capacity);
  return bound.denominator / common;
}

Forest grow(const Wires& wires, int64_t k, const Rational& inverse_rate) {
  return {.trees_per_terminal = k,
          .inverse_rate = inverse_rate,
          .wires = wires,
          .trees = pack_trees(wires, k)};
}

}  // namespace

std::optional<Forest> forest_with(const FlowNetwork& network, int64_t k, const Rational& bound,
                                  const Rational& slowest) {
  const std::vector<Rational> candidates = scales(network, k, bound, slowest);
  const auto wires = [&](const Rational& scale) {
    return wires_of(network, scale.numerator, scale.denominator);
  };
  auto best =
      std::partition_point(candidates.begin(), candidates.end(),
                           [&](const Rational& scale) { return !supports_trees(wires(scale), k); });
  // Where switches can't be split without loss, a little more room may do.
  constexpr int kTries = 8;
  for (int tries = 0; tries < kTries && best != candidates.end(); ++tries, ++best) {
    const std::optional<Wires> split = without_switches(wires(*best), k);
    if (!split) continue;
    return grow(*split, k, Rational::of(best->numerator, best->denominator * k));
  }
  return std::nullopt;
}

Forest forest_within(const FlowNetwork& network, const Rational& bound, double share) {
  constexpr int64_t kParts = 1'000'000;
  const int64_t exact = exact_trees(network, bound);
  const auto parts = static_cast<int64_t>(share * kParts);
  const Rational slowest =
      Rational::of(bound.numerator * kParts, bound.denominator * std::max<int64_t>(parts, 1));
  // What is asked to be exact takes as many as that takes: they are of few kinds.
  const int64_t least = share >= 1 ? exact : 1;
  const int64_t most = share >= 1 ? exact : std::min(exact, kMostTrees);
  for (int64_t k = least; k <= most; ++k)
    if (std::optional<Forest> forest = forest_with(network, k, bound, slowest))
      return std::move(*forest);
  throw Error(StatusCode::kInternalError,
              fmt::format("planner: no forest of up to {} trees per terminal is within {} of the "
                          "bound",
                          most, share));
}

}  // namespace tutti::planner
