// SPDX-License-Identifier: Apache-2.0
// Proportional fitting with a zero diagonal, and its rounding to whole numbers.
#include "src/planner/forest/port_matching.h"

#include <algorithm>
#include <cmath>
#include <cstddef>

namespace tutti::planner {
namespace {

using Shares = std::vector<std::vector<double>>;

// Scales rows and columns in turn until they add up to what is wanted.
Shares proportional(const std::vector<int64_t>& in, const std::vector<int64_t>& out) {
  constexpr int kRounds = 100;
  const size_t n = in.size();
  Shares shares(n, std::vector<double>(n, 0));
  for (size_t a = 0; a < n; ++a)
    for (size_t b = 0; b < n; ++b)
      if (a != b) shares[a][b] = static_cast<double>(in[a]) * static_cast<double>(out[b]);
  for (int round = 0; round < kRounds; ++round) {
    for (size_t a = 0; a < n; ++a) {
      double sum = 0;
      for (const double share : shares[a]) sum += share;
      if (sum > 0)
        for (double& share : shares[a]) share *= static_cast<double>(in[a]) / sum;
    }
    for (size_t b = 0; b < n; ++b) {
      double sum = 0;
      for (const auto& row : shares) sum += row[b];
      if (sum > 0)
        for (auto& row : shares) row[b] *= static_cast<double>(out[b]) / sum;
    }
  }
  return shares;
}

struct Residue {
  std::vector<int64_t> in;
  std::vector<int64_t> out;
};

// One for each pair that has some left on both sides, nearest distance first; true when any was.
bool hand_out(Matching* matching, Residue* left) {
  const size_t n = matching->size();
  bool any = false;
  for (size_t distance = 1; distance < n; ++distance)
    for (size_t a = 0; a < n; ++a) {
      const size_t b = (a + distance) % n;
      if (left->in[a] <= 0 || left->out[b] <= 0) continue;
      ++(*matching)[a][b];
      --left->in[a];
      --left->out[b];
      any = true;
    }
  return any;
}

// What is left of `port` has only itself to go to: an exchange with a pair of two others.
bool exchange(Matching* matching, Residue* left, size_t port) {
  const size_t n = matching->size();
  for (size_t a = 0; a < n; ++a)
    for (size_t b = 0; b < n; ++b) {
      if (a == port || b == port || (*matching)[a][b] == 0) continue;
      const int64_t moved = std::min({(*matching)[a][b], left->in[port], left->out[port]});
      (*matching)[a][b] -= moved;
      (*matching)[a][port] += moved;
      (*matching)[port][b] += moved;
      left->in[port] -= moved;
      left->out[port] -= moved;
      return moved > 0;
    }
  return false;
}

}  // namespace

Matching even_matching(const std::vector<int64_t>& in, const std::vector<int64_t>& out) {
  const size_t n = in.size();
  const Shares shares = proportional(in, out);
  Matching matching(n, std::vector<int64_t>(n, 0));
  Residue left{in, out};
  for (size_t a = 0; a < n; ++a)
    for (size_t b = 0; b < n; ++b) {
      constexpr double kRounding = 1e-6;
      const auto whole = static_cast<int64_t>(std::floor(shares[a][b] + kRounding));
      matching[a][b] = std::clamp<int64_t>(whole, 0, std::min(left.in[a], left.out[b]));
      left.in[a] -= matching[a][b];
      left.out[b] -= matching[a][b];
    }
  while (hand_out(&matching, &left)) {
  }
  for (size_t port = 0; port < n; ++port)
    while (left.in[port] > 0 && left.out[port] > 0 && exchange(&matching, &left, port)) {
    }
  return matching;
}

}  // namespace tutti::planner
