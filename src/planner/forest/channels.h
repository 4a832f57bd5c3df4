// SPDX-License-Identifier: Apache-2.0
// Shares the trees of forests out among lanes, and their wires among connections.
#pragma once

#include <cstdint>
#include <map>
#include <utility>
#include <vector>

#include "src/planner/forest/forest.h"
#include "src/verify/placement.h"

namespace tutti::planner {

// A plan's connections: of one source and one sink, each belongs to one lane group and takes one
// way, and they are numbered from 0.
class ConnectionTable {
 public:
  explicit ConnectionTable(int32_t max_channels) : max_channels_(max_channels) {}

  // Is there one, or room for one more?
  bool has_room(const verify::Route& way, int32_t group) const;
  // Its channel; a new one beyond the limit when there is no room.
  int32_t channel(const verify::Route& way, int32_t group);
  // All of them, by (source, sink, channel).
  std::vector<verify::Route> routes() const;
  int32_t channels() const;

 private:
  struct Connection {
    int32_t group = 0;
    std::vector<verify::Hop> hops;
  };
  using Pair = std::pair<int32_t, int32_t>;

  int32_t max_channels_;
  std::map<Pair, std::vector<Connection>> connections_;  // by source and sink
};

// One of a Tree's copies. Its steps are in lane `group` of every terminal.
struct PlacedTree {
  int32_t root = 0;
  int32_t extent = 0;                          // the chunk that it moves
  int32_t group = 0;                           // counted from 0
  std::vector<int32_t> parent;                 // by terminal; -1 for the root
  std::vector<int32_t> channel;                // of the connection with the parent, by terminal
  std::vector<int32_t> depth;                  // by terminal
  std::vector<std::vector<int32_t>> children;  // by terminal, ascending
};

enum class Flow : uint8_t { kOut, kIn };  // from the root to all, or from all to the root

// Which lane groups of the plan, and of the connection table, are for the forest's trees.
struct LaneGroups {
  Flow flow = Flow::kOut;
  int32_t first_group = 0;
  int32_t groups = 1;
};

struct PlacedForest {
  std::vector<PlacedTree> trees;  // by group, then by their order among their root's
};

// Copies that come in multiples of `share` are so many fewer trees with larger chunks; it divides
// common_share(). Extents go by root: where every root has k trees, root r's are r k to r k + k -
// 1, as AllGather and ReduceScatter name them.
PlacedForest place_trees(const Forest& forest, const LaneGroups& groups, int64_t share,
                         ConnectionTable* table);
int64_t common_share(const Forest& forest);

}  // namespace tutti::planner
