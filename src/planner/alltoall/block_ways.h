// SPDX-License-Identifier: Apache-2.0
// Which way each block of an AllToAll goes, and through whose memory.
#pragma once

#include <cstdint>
#include <optional>
#include <vector>

#include "src/base/rational.h"
#include "src/planner/forest/flow_network.h"

namespace tutti::planner {

// A chunk of the block that `source` has for `sink`. Where its way comes by another terminal, that
// one receives it and sends it on.
struct BlockWay {
  int32_t source = 0;
  int32_t sink = 0;
  int32_t chunk = 0;
  std::vector<int32_t> arcs;
};

// By source, sink and chunk; without the blocks that stay where they are.
struct BlockWays {
  int32_t chunks_per_block = 1;
  std::vector<BlockWay> ways;
};

enum class Relays : uint8_t { kNone, kAllowed };

// One way for each block: of all ways the one over the fewest links of the fabric, of those one by
// the fewest other terminals, of those one that comes by them before it leaves the machine, of
// those one with the fewest hops. With rails a block thus goes inside its source's machine to the
// GPU whose NIC is on its sink's rail, and from there over one switch: what NCCL calls PXN. Equal
// ways are shared out by load. Nothing when there is a block without a way that passes no terminal
// and `relays` allows none.
std::optional<BlockWays> shortest_ways(const FlowNetwork& network, const topology::Graph& graph,
                                       Relays relays);

// What spread_ways() tries to reach.
struct SpreadGoal {
  Rational time;                 // that the busiest arc takes for one unit per terminal
  std::vector<int64_t> lengths;  // by arc, as in AllToAllBound: in an optimum all ways are shortest
                                 // ones by these
};

// Starts from `ways`, one for each block, cuts blocks into equal chunks, and moves one chunk after
// the other to a way where it adds less to what is busy, until the goal is reached, or a number of
// rounds is over: multiplicative weights (Garg and
// Konemann, Faster and simpler algorithms for multicommodity flow, SIAM J. Comput. 37(2), 2007) as
// a local search, because chunks can't be divided.
BlockWays spread_ways(const FlowNetwork& network, const BlockWays& ways, int32_t chunks,
                      const SpreadGoal& goal);

// Time that the busiest arc takes for one unit per terminal.
Rational busiest_time(const FlowNetwork& network, const BlockWays& ways);

}  // namespace tutti::planner
