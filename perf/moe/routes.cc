// SPDX-License-Identifier: Apache-2.0
// Draws routings.
#include "perf/moe/routes.h"

#include <algorithm>
#include <charconv>
#include <cmath>
#include <numeric>
#include <random>
#include <stdexcept>

namespace tutti::moe_perf {
namespace {

using Random = std::mt19937_64;

// Which rank has an expert, as the library deals them out.
int rank_of(int expert, const RouteShape& shape) {
  const int each = shape.experts / shape.n_ranks, more = shape.experts % shape.n_ranks;
  const int with_more = more * (each + 1);
  return expert < with_more ? expert / (each + 1) : more + (expert - with_more) / std::max(1, each);
}

// k different ones of `from`, by their weights (empty: all alike).
void draw(std::vector<int>& from, std::vector<double> weights, int k, Random& random,
          std::vector<int64_t>& into) {
  std::vector<int64_t> taken;
  for (int j = 0; j < k && j < static_cast<int>(from.size()); ++j) {
    if (weights.empty()) {
      const size_t at = static_cast<size_t>(j) + random() % (from.size() - static_cast<size_t>(j));
      std::swap(from[static_cast<size_t>(j)], from[at]);
      taken.push_back(from[static_cast<size_t>(j)]);
      continue;
    }
    std::discrete_distribution<size_t> next(weights.begin(), weights.end());
    const size_t at = next(random);
    weights[at] = 0;
    taken.push_back(from[at]);
  }
  taken.resize(static_cast<size_t>(k), -1);
  into.insert(into.end(), taken.begin(), taken.end());
}

// Experts whose ranks are on half of the nodes.
std::vector<int> near_experts(const RouteShape& shape, Random& random) {
  std::vector<int> nodes(static_cast<size_t>(std::clamp(shape.nodes, 1, shape.n_ranks)));
  std::iota(nodes.begin(), nodes.end(), 0);
  std::shuffle(nodes.begin(), nodes.end(), random);
  const int n = static_cast<int>(nodes.size());
  nodes.resize((nodes.size() + 1) / 2);
  std::vector<int> experts;
  for (int expert = 0; expert < shape.experts; ++expert) {
    const int node = static_cast<int>(int64_t{rank_of(expert, shape)} * n / shape.n_ranks);
    if (std::find(nodes.begin(), nodes.end(), node) != nodes.end()) experts.push_back(expert);
  }
  return experts;
}

}  // namespace

std::vector<int64_t> synthetic(std::string_view skew, const RouteShape& shape) {
  const bool limited = skew == "node-limited", zipf = skew == "zipf";
  if (skew != "uniform" && !limited && !zipf) {
    throw std::invalid_argument("--skew is '" + std::string(skew) +
                                "'; known are uniform, node-limited and zipf");
  }
  Random random(shape.seed * 7919 + static_cast<uint64_t>(shape.rank));
  std::vector<int> all(static_cast<size_t>(shape.experts));
  std::iota(all.begin(), all.end(), 0);
  std::vector<double> weights;
  for (size_t i = 0; zipf && i < all.size(); ++i)
    weights.push_back(1.0 / static_cast<double>(i + 1));
  if (zipf) {
    Random same(shape.seed);  // the popular ones are the same for all ranks, and anywhere
    std::shuffle(all.begin(), all.end(), same);
  }
  std::vector<int64_t> table;
  for (size_t token = 0; token < shape.tokens; ++token) {
    if (limited) all = near_experts(shape, random);
    draw(all, weights, shape.k, random, table);
  }
  return table;
}

std::vector<std::vector<int64_t>> parse_routes(std::string_view text, int k, int experts) {
  std::vector<std::vector<int64_t>> lines;
  for (size_t number = 1; !text.empty(); ++number) {
    const size_t end = std::min(text.find('\n'), text.size());
    std::string_view line = text.substr(0, end);
    text.remove_prefix(std::min(end + 1, text.size()));
    line = line.substr(0, std::min(line.find('#'), line.size()));
    const auto wrong = [&](const std::string& what) {
      return std::invalid_argument("line " + std::to_string(number) + " of the routing: " + what);
    };
    std::vector<int64_t> token;
    while (true) {
      line.remove_prefix(std::min(line.find_first_not_of(" \t\r,"), line.size()));
      if (line.empty()) break;
      int64_t expert = 0;
      const auto [rest, error] = std::from_chars(line.data(), line.data() + line.size(), expert);
      const auto used = static_cast<size_t>(rest - line.data());
      const bool ends = used == line.size() ||
                        std::string_view(" \t\r,").find(line[used]) != std::string_view::npos;
      if (error != std::errc() || !ends) {
        throw wrong("'" + std::string(line.substr(0, line.find_first_of(" \t\r,"))) +
                    "' is no expert's number");
      }
      if (expert < -1 || expert >= experts)
        throw wrong("expert " + std::to_string(expert) + "; allowed are -1 (none) to " +
                    std::to_string(experts - 1));
      if (token.size() == static_cast<size_t>(k))
        throw wrong("more than --topk, " + std::to_string(k) + ", experts");
      token.push_back(expert);
      line.remove_prefix(used);
    }
    if (!token.empty()) lines.push_back(std::move(token));
  }
  if (lines.empty()) throw std::invalid_argument("the routing has no token");
  return lines;
}

std::vector<int64_t> replayed(const std::vector<std::vector<int64_t>>& lines,
                              const RouteShape& shape) {
  std::vector<int64_t> table;
  for (size_t token = 0; token < shape.tokens; ++token) {
    std::vector<int64_t> experts =
        lines[(static_cast<size_t>(shape.rank) * shape.tokens + token) % lines.size()];
    experts.resize(static_cast<size_t>(shape.k), -1);
    table.insert(table.end(), experts.begin(), experts.end());
  }
  return table;
}

}  // namespace tutti::moe_perf
