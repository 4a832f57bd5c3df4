// SPDX-License-Identifier: Apache-2.0
// Sorts nodes by the machine that they are in, and links by node.
#include "topology/formats/svg/index.h"

namespace tutti::topology::drawing {

Index::Index(const Graph& g)
    : graph(g),
      links_at(g.nodes.size()),
      machine_of(g.nodes.size(), -1),
      parts_of(g.nodes.size() + 1),
      machines_of(g.nodes.size() + 1) {
  for (int32_t n = 0; n < static_cast<int32_t>(g.nodes.size()); ++n) {
    const int32_t parent = g.nodes[n].parent;
    if (parent >= 0)
      machine_of[n] = kind(parent) == NodeKind::kMachine ? parent : machine_of[parent];
    if (kind(n) == NodeKind::kMachine)
      machines_of[machine_of[n] + 1].push_back(n);
    else if (kind(n) != NodeKind::kNetSwitch && kind(n) != NodeKind::kCluster)
      parts_of[machine_of[n] + 1].push_back(n);
  }
  for (int32_t l = 0; l < static_cast<int32_t>(g.links.size()); ++l)
    for (const int32_t end : {g.links[l].from, g.links[l].to}) links_at[end].push_back(l);
}

}  // namespace tutti::topology::drawing
