// SPDX-License-Identifier: Apache-2.0
// Ways between terminals through switches, and how much of each arc is still free.
#pragma once

#include <array>
#include <cstdint>
#include <vector>

#include "src/planner/forest/wires.h"

namespace tutti::planner {

// The shortest ways from one terminal, and of those the widest, by node.
struct Ways {
  struct Reached {
    int32_t arc = -1;   // that led here
    int32_t hops = -1;  // -1: not reached
    int64_t width = 0;
  };
  int32_t from = 0;
  int64_t least = 0;
  std::vector<Reached> nodes;
};

class Router {
 public:
  explicit Router(const FlowNetwork& network);

  // Ways pass through switches only, over arcs with at least `least` left.
  Ways ways_from(int32_t from, int64_t least) const;
  // The way to a terminal that is reached. Wire::amount is what is left on it. Of several that are
  // as short and wide, `spread` chooses, so that different numbers go different ways.
  Wire wire_to(const Ways& ways, int32_t to, int32_t spread = 0) const;
  // Takes capacity from a way's arcs, or gives it back when negative.
  void take(const Wire& wire, int64_t amount);
  // Of all arcs, each amount once, largest first; without zeros.
  std::vector<int64_t> amounts_left() const;

 private:
  int32_t arc_back(const Ways& ways, int32_t node, int32_t spread) const;
  void spread(int32_t node, int64_t least, Ways* ways, std::vector<int32_t>* next) const;

  const FlowNetwork& network_;
  std::vector<int64_t> left_;                  // by arc
  std::vector<std::vector<int32_t>> leaving_;  // arcs, by node
  std::vector<std::vector<int32_t>> entering_;
  std::vector<std::array<int32_t, 2>> arc_of_link_;  // of the graph: forward, reverse; -1: none
};

}  // namespace tutti::planner
