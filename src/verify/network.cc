// SPDX-License-Identifier: Apache-2.0
// Matches sends with receives, and runs lanes greedily against bounded FIFOs.
#include "src/verify/network.h"

#include <algorithm>
#include <compare>
#include <map>

#include <spdlog/fmt/fmt.h>

namespace tutti::verify {
namespace {

using plan::Operand;
using plan::Step;

bool is_peer(const Operand& operand) { return operand.kind == Operand::Kind::kPeer; }

std::string extent_text(int32_t extent) {
  return extent == plan::kNoExtent ? "a signal" : fmt::format("extent {}", extent);
}

// ---- building ----

struct Key {
  int32_t source_rank, sink_rank, channel;
  auto operator<=>(const Key&) const = default;
};

std::string describe(const Key& key) {
  return fmt::format("connection {}->{} channel {}", key.source_rank, key.sink_rank, key.channel);
}

Key key_of(int32_t rank, const Operand& peer, bool sends) {
  return sends ? Key{rank, peer.index, peer.channel} : Key{peer.index, rank, peer.channel};
}

class Builder {
 public:
  Builder(const plan::Plan& plan, Network* network) : plan_(plan), network_(*network) {}

  Rejection build() {
    add_nodes();
    name_connections();
    for (NodeId id = 0; id < network_.nodes.size(); ++id) attach(id);
    for (const Connection& connection : network_.connections)
      if (Rejection why = check_agreement(connection)) return why;
    return std::nullopt;
  }

 private:
  void add_nodes() {
    network_.plan = &plan_;
    for (int32_t rank = 0; rank < plan_.shape.n_ranks; ++rank) {
      network_.first_lane.push_back(network_.lanes.size());
      const auto& lanes = plan_.ranks[rank].lanes;
      for (uint32_t lane = 0; lane < lanes.size(); ++lane) {
        const uint32_t lane_id = network_.lanes.size();
        const auto& steps = lanes[lane].steps;
        network_.lanes.push_back({.rank = rank,
                                  .lane = lane,
                                  .first = static_cast<NodeId>(network_.nodes.size()),
                                  .count = static_cast<uint32_t>(steps.size())});
        for (uint32_t step = 0; step < steps.size(); ++step)
          network_.nodes.push_back({rank, lane, step, lane_id, &steps[step], {}, {}});
      }
    }
    network_.first_lane.push_back(network_.lanes.size());
  }

  void name_connections() {
    for (const Node& node : network_.nodes) {
      for (const Operand& source : node.code->sources)
        if (is_peer(source)) index_[key_of(node.rank, source, false)] = 0;
      for (const Operand& sink : node.code->sinks)
        if (is_peer(sink)) index_[key_of(node.rank, sink, true)] = 0;
    }
    for (auto& [key, index] : index_) {
      index = network_.connections.size();
      network_.connections.push_back({key.source_rank, key.sink_rank, key.channel, 0, 0, {}, {}});
    }
  }

  void attach(NodeId id) {
    Node& node = network_.nodes[id];
    for (const Operand& source : node.code->sources) {
      if (!is_peer(source)) continue;
      const uint32_t index = index_.at(key_of(node.rank, source, false));
      Connection& connection = network_.connections[index];
      connection.sink_lane = node.lane_id;
      node.receives.push_back({index, static_cast<uint32_t>(connection.receives.size())});
      connection.receives.push_back(id);
    }
    for (const Operand& sink : node.code->sinks) {
      if (!is_peer(sink)) continue;
      const uint32_t index = index_.at(key_of(node.rank, sink, true));
      Connection& connection = network_.connections[index];
      connection.source_lane = node.lane_id;
      node.sends.push_back({index, static_cast<uint32_t>(connection.sends.size())});
      connection.sends.push_back(id);
    }
  }

  Rejection check_agreement(const Connection& connection) const {
    const Key key{connection.source_rank, connection.sink_rank, connection.channel};
    const size_t common = std::min(connection.sends.size(), connection.receives.size());
    for (size_t i = 0; i < common; ++i) {
      const Node& sender = network_.nodes[connection.sends[i]];
      const Node& receiver = network_.nodes[connection.receives[i]];
      if (sender.code->extent != receiver.code->extent)
        return fmt::format(
            "messages agree: {}, message {} of every tile: {} expects {}, {} sends {}",
            describe(key), i, verify::describe(receiver), extent_text(receiver.code->extent),
            verify::describe(sender), extent_text(sender.code->extent));
    }
    if (connection.sends.size() == connection.receives.size()) return std::nullopt;
    const bool left_over = connection.sends.size() > common;
    const NodeId odd = left_over ? connection.sends[common] : connection.receives[common];
    return fmt::format(
        "messages agree: {}: {} sends but {} receives in every tile; {} {}", describe(key),
        connection.sends.size(), connection.receives.size(), verify::describe(network_.nodes[odd]),
        left_over ? "leaves its message in the FIFO" : "waits for a message that nobody sends");
  }

  const plan::Plan& plan_;
  Network& network_;
  std::map<Key, uint32_t> index_;
};

// ---- running ----

class Simulation {
 public:
  Simulation(const Network& network, int32_t slots, int32_t tiles)
      : network_(network),
        slots_(slots),
        tiles_(tiles),
        at_(network.lanes.size()),
        sent_(network.connections.size(), 0),
        received_(network.connections.size(), 0) {
    for (size_t i = 0; i < at_.size(); ++i)
      if (network.lanes[i].count == 0) at_[i].tile = tiles;
  }

  Execution run() {
    Execution result;
    for (bool moved = true; moved;) {
      moved = false;
      for (uint32_t lane = 0; lane < at_.size(); ++lane) {
        while (at_[lane].tile < tiles_ && !blocker(lane)) {
          advance(lane, &result.order);
          moved = true;
        }
      }
    }
    result.finished =
        std::all_of(at_.begin(), at_.end(), [&](const Position& p) { return p.tile >= tiles_; });
    if (!result.finished) result.deadlock = describe_circle();
    return result;
  }

 private:
  struct Position {
    int32_t tile = 0;
    uint32_t step = 0;
  };
  // What keeps a lane from its next step: the lane that has to move first.
  struct Blocker {
    enum class Kind : uint8_t { kWindow, kWait, kMessage, kSlot } kind;
    uint32_t lane_id;
    uint32_t detail;  // kWait: the step; kMessage, kSlot: the connection
  };

  const Node& node_at(uint32_t lane) const {
    return network_.nodes[network_.lanes[lane].first + at_[lane].step];
  }

  std::optional<Blocker> blocker(uint32_t lane) const {
    const Position& position = at_[lane];
    const Node& node = node_at(lane);
    if (position.step == 0) {
      for (uint32_t l = network_.first_lane[node.rank]; l < network_.first_lane[node.rank + 1]; ++l)
        if (at_[l].tile <= position.tile - network_.plan->tiles_in_flight)
          return Blocker{Blocker::Kind::kWindow, l, 0};
    }
    for (const plan::Wait& wait : node.code->waits) {
      const uint32_t l = network_.first_lane[node.rank] + wait.lane;
      const Position& other = at_[l];
      if (other.tile < position.tile || (other.tile == position.tile && other.step <= wait.step))
        return Blocker{Blocker::Kind::kWait, l, wait.step};
    }
    for (const Port& port : node.receives)
      if (sent_[port.connection] == received_[port.connection])
        return Blocker{Blocker::Kind::kMessage, network_.connections[port.connection].source_lane,
                       port.connection};
    for (const Port& port : node.sends)
      if (sent_[port.connection] - received_[port.connection] >= slots_)
        return Blocker{Blocker::Kind::kSlot, network_.connections[port.connection].sink_lane,
                       port.connection};
    return std::nullopt;
  }

  void advance(uint32_t lane, std::vector<NodeId>* order) {
    const Node& node = node_at(lane);
    for (const Port& port : node.receives) ++received_[port.connection];
    for (const Port& port : node.sends) ++sent_[port.connection];
    Position& position = at_[lane];
    if (position.tile == 0) order->push_back(network_.lanes[lane].first + position.step);
    if (++position.step == network_.lanes[lane].count) position = {position.tile + 1, 0};
  }

  std::string describe_wait(uint32_t lane, const Blocker& why) const {
    const std::string who =
        fmt::format("{} (tile {})", verify::describe(node_at(lane)), at_[lane].tile);
    const uint32_t other = network_.lanes[why.lane_id].lane;
    switch (why.kind) {
      case Blocker::Kind::kWindow:
        return fmt::format("{} waits for lane {} to finish tile {}", who, other,
                           at_[lane].tile - network_.plan->tiles_in_flight);
      case Blocker::Kind::kWait:
        return fmt::format("{} waits for step {} of lane {}", who, why.detail, other);
      case Blocker::Kind::kMessage: {
        const Connection& c = network_.connections[why.detail];
        return fmt::format("{} waits for a message from rank {} lane {} on channel {}", who,
                           c.source_rank, other, c.channel);
      }
      case Blocker::Kind::kSlot:
        break;
    }
    const Connection& c = network_.connections[why.detail];
    return fmt::format("{} waits for a free slot to rank {} lane {} on channel {}", who,
                       c.sink_rank, other, c.channel);
  }

  // Every stuck lane is blocked by a stuck lane, so following blockers leads into a circle.
  std::string describe_circle() const {
    uint32_t lane = 0;
    while (at_[lane].tile >= tiles_) ++lane;
    for (size_t i = 0; i < at_.size(); ++i) lane = blocker(lane)->lane_id;  // now inside the circle
    const uint32_t first = lane;
    std::string text;
    do {
      const Blocker why = *blocker(lane);
      text += (text.empty() ? "" : "; ") + describe_wait(lane, why);
      lane = why.lane_id;
    } while (lane != first);
    return text + ", which closes the circle";
  }

  const Network& network_;
  const int32_t slots_;
  const int32_t tiles_;
  std::vector<Position> at_;   // by lane
  std::vector<int64_t> sent_;  // by connection
  std::vector<int64_t> received_;
};

}  // namespace

std::string describe(const Node& node) {
  return fmt::format("rank {} lane {} step {}", node.rank, node.lane, node.step);
}

Rejection build_network(const plan::Plan& plan, Network* network) {
  return Builder(plan, network).build();
}

Execution execute(const Network& network, int32_t slots, int32_t tiles) {
  return Simulation(network, slots, tiles).run();
}

}  // namespace tutti::verify
