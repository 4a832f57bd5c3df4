// SPDX-License-Identifier: Apache-2.0
// A plan as a network of lanes joined by bounded FIFOs: which message meets which step, and whether
// all of them finish.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "src/plan/plan.h"

namespace tutti::verify {

// Why a plan is refused; nothing when it is not.
using Rejection = std::optional<std::string>;

using NodeId = uint32_t;  // a step of a lane of a rank

// One end of a message: the `message`-th of its connection in each tile.
struct Port {
  uint32_t connection = 0;
  uint32_t message = 0;
};

struct Node {
  int32_t rank = 0;
  uint32_t lane = 0;  // within the rank
  uint32_t step = 0;
  uint32_t lane_id = 0;              // index into Network::lanes
  const plan::Step* code = nullptr;  // owned by the plan
  std::vector<Port> receives;        // one per peer source, in order
  std::vector<Port> sends;           // one per peer sink, in order
};

struct LaneNodes {
  int32_t rank = 0;
  uint32_t lane = 0;
  NodeId first = 0;
  uint32_t count = 0;
};

// Lanes run in order and each end belongs to one lane, so the k-th send meets the k-th receive
// whatever the schedule.
struct Connection {
  int32_t source_rank = 0;
  int32_t sink_rank = 0;
  int32_t channel = 0;
  uint32_t source_lane = 0;  // index into Network::lanes
  uint32_t sink_lane = 0;
  std::vector<NodeId> sends;     // by message of a tile
  std::vector<NodeId> receives;  // by message of a tile; as many as sends
};

// Points into the plan, which must outlive it.
struct Network {
  const plan::Plan* plan = nullptr;
  std::vector<Node> nodes;
  std::vector<LaneNodes> lanes;         // rank by rank
  std::vector<uint32_t> first_lane;     // of each rank, and one past the last
  std::vector<Connection> connections;  // sorted by (source, sink, channel)

  NodeId node_of(int32_t rank, uint32_t lane, uint32_t step) const noexcept {
    return lanes[first_lane[rank] + lane].first + step;
  }
};

// "rank 1 lane 0 step 2"
std::string describe(const Node& node);

// Fills `network` from a well-formed plan (so an end of a connection is used by one lane, and once
// by a step), or says where the messages of a tile do not agree at both ends of a connection: their
// number, extents, or data against signal.
Rejection build_network(const plan::Plan& plan, Network* network);

// Runs `tiles` tiles greedily with `slots` messages of room per connection. A network of FIFOs with
// one reader and one writer each is confluent: if one schedule finishes, all do, and if one gets
// stuck, all do at the same place.
struct Execution {
  bool finished = false;
  std::vector<NodeId> order;  // of the first tile's steps; meaningful when finished
  std::string deadlock;       // who waits for whom, when not finished
};
Execution execute(const Network& network, int32_t slots, int32_t tiles);

}  // namespace tutti::verify
