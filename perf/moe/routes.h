// SPDX-License-Identifier: Apache-2.0
// Which experts tokens go to: synthetic, or from a file.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

namespace tutti::moe_perf {

struct RouteShape {
  size_t tokens = 0;
  int k = 1;
  int experts = 1;
  int rank = 0;
  int n_ranks = 1;
  int nodes = 1;
  uint64_t seed = 1;
};

// The top-k table [tokens][k] of a rank. "uniform": k different experts, all alike. "node-limited":
// the same, of half of the nodes (at least one), drawn for each token. "zipf": k different experts,
// the i-th as likely as 1 / (i + 1). Throws std::invalid_argument for another name.
std::vector<int64_t> synthetic(std::string_view skew, const RouteShape& shape);

// Lines of a file of routings, see --routing. Throws std::invalid_argument that names the line and
// what is wrong with it: an expert that is not from 0 to experts - 1, more than k, no token at all.
std::vector<std::vector<int64_t>> parse_routes(std::string_view text, int k, int experts);
// The rank's share of them, cyclically: its first token is line rank * tokens.
std::vector<int64_t> replayed(const std::vector<std::vector<int64_t>>& lines,
                              const RouteShape& shape);

}  // namespace tutti::moe_perf
