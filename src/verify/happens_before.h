// SPDX-License-Identifier: Apache-2.0
// Happens-before among the steps of one tile: what every schedule, at any number of slots, runs in
// this order.
#pragma once

#include <cstdint>
#include <vector>

#include "src/verify/network.h"

namespace tutti::verify {

// Edges: lane order, waits, and message send -> receive. Not the return of a slot: at run time
// there may be more slots. A message whose chunk is empty is not sent at all, so a message orders
// accesses only to its own extent; signals are always sent. Edges lead from a tile to itself or to
// a later one, so one tile is enough (docs/design/verifier.md).
class HappensBefore {
 public:
  // `order` is a topological order (Execution::order). The network must outlive this.
  HappensBefore(const Network& network, const std::vector<NodeId>& order);

  // Does step a finish before step b starts whenever the chunks of both extents, and maybe no
  // others, hold data?
  bool before(NodeId a, NodeId b, int32_t extent_a, int32_t extent_b);

 private:
  bool before_locally(NodeId a, NodeId b) const noexcept;
  void expand();
  void visit(NodeId node);

  const Network& network_;
  std::vector<std::vector<NodeId>> waiters_;  // by node: those that wait for it
  // By node, by lane of its rank: how many steps of that lane have finished before it starts,
  // counting local edges only.
  std::vector<std::vector<uint32_t>> clocks_;

  // The last search: goes on where it stopped when the next question starts from the same step.
  struct Search {
    NodeId from = UINT32_MAX;
    int32_t extent_a = 0;
    int32_t extent_b = 0;
  };
  Search search_;
  std::vector<uint32_t> reached_;  // by node: equal to epoch_ when reached
  std::vector<NodeId> frontier_;   // reached, successors not yet visited
  uint32_t epoch_ = 0;
};

}  // namespace tutti::verify
