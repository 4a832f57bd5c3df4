// SPDX-License-Identifier: Apache-2.0
// Look-ups in a graph that the steps of drawing share.
#pragma once

#include <cstdint>
#include <vector>

#include "topology/graph.h"

namespace tutti::topology::drawing {

struct Index {
  explicit Index(const Graph& g);

  int32_t other_end(int32_t link, int32_t node) const {
    const Link& l = graph.links[link];
    return l.from == node ? l.to : l.from;
  }
  NodeKind kind(int32_t node) const { return graph.nodes[node].kind; }
  const std::vector<int32_t>& parts(int32_t machine) const { return parts_of[machine + 1]; }
  const std::vector<int32_t>& machines(int32_t machine) const { return machines_of[machine + 1]; }

  const Graph& graph;
  std::vector<std::vector<int32_t>> links_at;  // by node
  std::vector<int32_t> machine_of;  // by node: the machine around it, for a machine too; -1: none
  // By machine + 1, and at 0 what is in none. Network switches are in neither.
  std::vector<std::vector<int32_t>> parts_of;
  std::vector<std::vector<int32_t>> machines_of;
};

}  // namespace tutti::topology::drawing
