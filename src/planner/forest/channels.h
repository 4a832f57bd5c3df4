// SPDX-License-Identifier: Apache-2.0
// Shares the trees of a forest out among channels, so that a connection has one way.
#pragma once

#include <cstdint>
#include <vector>

#include "src/planner/forest/forest.h"
#include "src/verify/placement.h"

namespace tutti::planner {

// One of a Tree's copies.
struct PlacedTree {
  int32_t root = 0;
  int32_t extent = 0;                          // the chunk that it moves
  int32_t channel = 0;                         // counted from 0
  std::vector<int32_t> parent;                 // by terminal; -1 for the root
  std::vector<int32_t> depth;                  // by terminal
  std::vector<std::vector<int32_t>> children;  // by terminal, ascending
};

enum class Flow : uint8_t { kOut, kIn };  // from the root to all, or from all to the root

struct PlacedForest {
  int32_t channels = 1;
  std::vector<PlacedTree> trees;      // by channel, then by their order among their root's
  std::vector<verify::Route> routes;  // one per connection
};

// Copies that come in multiples of `share` are so many fewer trees with larger chunks; it divides
// common_share(). Extents go by root: where every root has k trees, root r's are r k to r k + k -
// 1, as AllGather and ReduceScatter name them. Channels are counted from `first_channel` in the
// routes.
PlacedForest place_trees(const Forest& forest, Flow flow, int64_t share, int32_t max_channels,
                         int32_t first_channel);
int64_t common_share(const Forest& forest);

}  // namespace tutti::planner
