// SPDX-License-Identifier: Apache-2.0
// How fast an AllToAll can be at most on a network, and the lengths of links that prove it.
#pragma once

#include <cstdint>
#include <vector>

#include "src/base/rational.h"
#include "src/planner/forest/flow_network.h"

namespace tutti::planner {

// Times are for one unit of data per terminal, which is what it sends to all terminals together,
// itself too: n blocks. So no AllToAll with one unit per ordered pair is faster than n times that.
struct AllToAllBound {
  Rational inverse_rate;         // as `lengths` prove it
  std::vector<int64_t> lengths;  // by arc
  // From the optimum of the linear program: as good as can be, but for what rounding takes (a
  // millionth where the lengths are no fractions with small denominators). false: the best that was
  // found, by a program that took for alike what only looks so from nearby, or by cuts alone where
  // the program is too large.
  bool optimal = false;
  Rational cut;              // what the best cut alone says, at most inverse_rate
  std::vector<bool> inside;  // of that cut, by node
};

struct BoundEffort {
  int64_t most_variables = 30'000;  // of the linear program; so many take some seconds
};

// Throws InvalidArgument naming two terminals when no way leads from one to the other.
AllToAllBound all_to_all_bound(const FlowNetwork& network, const topology::Graph& graph,
                               const BoundEffort& effort = {});

// A block that takes the shortest way uses up so much length: T >= (sum over ordered pairs of
// distance) / (n sum over arcs of capacity times length). The program's dual; valid for any
// lengths >= 0 that are not all 0.
Rational length_ratio(const FlowNetwork& network, const std::vector<int64_t>& lengths);

// T >= |S| |V \ S| / (n B+(S)), terminals alone counted.
Rational separation_ratio(const FlowNetwork& network, const std::vector<bool>& inside);

}  // namespace tutti::planner
