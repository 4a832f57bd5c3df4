// SPDX-License-Identifier: Apache-2.0
// Vector clocks over the lanes of one rank answer most questions; the rest search the graph of all
// ranks.
#include "src/verify/happens_before.h"

#include <algorithm>

namespace tutti::verify {

HappensBefore::HappensBefore(const Network& network, const std::vector<NodeId>& order)
    : network_(network),
      waiters_(network.nodes.size()),
      clocks_(network.nodes.size()),
      reached_(network.nodes.size(), 0) {
  auto join = [](std::vector<uint32_t>& clock, const std::vector<uint32_t>& other) {
    for (size_t i = 0; i < clock.size(); ++i) clock[i] = std::max(clock[i], other[i]);
  };
  for (const NodeId id : order) {
    const Node& node = network.nodes[id];
    const uint32_t first_lane = network.first_lane[node.rank];
    std::vector<uint32_t>& clock = clocks_[id];
    clock.assign(network.first_lane[node.rank + 1] - first_lane, 0);
    if (node.step > 0) join(clock, clocks_[id - 1]);
    clock[node.lane] = node.step;
    for (const plan::Wait& wait : node.code->waits) {
      const NodeId waited = network.node_of(node.rank, wait.lane, wait.step);
      waiters_[waited].push_back(id);
      join(clock, clocks_[waited]);
      clock[wait.lane] = std::max(clock[wait.lane], wait.step + 1);
    }
  }
}

bool HappensBefore::before(NodeId a, NodeId b, int32_t extent_a, int32_t extent_b) {
  if (a == b) return false;
  if (before_locally(a, b)) return true;
  if (search_.from != a || search_.extent_a != extent_a || search_.extent_b != extent_b) {
    ++epoch_;
    frontier_.clear();
    search_ = {a, extent_a, extent_b};
    visit(a);
  }
  while (reached_[b] != epoch_ && !frontier_.empty()) expand();
  return reached_[b] == epoch_;
}

bool HappensBefore::before_locally(NodeId a, NodeId b) const noexcept {
  const Node& first = network_.nodes[a];
  const Node& second = network_.nodes[b];
  return first.rank == second.rank && clocks_[b][first.lane] > first.step;
}

void HappensBefore::expand() {
  const NodeId id = frontier_.back();
  frontier_.pop_back();
  const Node& node = network_.nodes[id];
  if (node.step + 1 < network_.lanes[node.lane_id].count) visit(id + 1);
  for (const NodeId waiter : waiters_[id]) visit(waiter);
  const int32_t extent = node.code->extent;
  if (extent != plan::kNoExtent && extent != search_.extent_a && extent != search_.extent_b) return;
  for (const Port& port : node.sends)
    visit(network_.connections[port.connection].receives[port.message]);
}

void HappensBefore::visit(NodeId node) {
  if (reached_[node] == epoch_) return;
  reached_[node] = epoch_;
  frontier_.push_back(node);
}

}  // namespace tutti::verify
