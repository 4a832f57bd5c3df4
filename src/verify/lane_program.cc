// SPDX-License-Identifier: Apache-2.0
// Flattens plans and numbers their connections.
#include "src/verify/lane_program.h"

#include <algorithm>
#include <tuple>

namespace tutti::verify {
namespace {

using plan::Operand;

class Flattener {
 public:
  Flattener(const plan::Plan& plan, const Placement& placement, Data data)
      : plan_(plan), placement_(placement), data_(data) {}

  LaneProgram flatten() {
    program_.connections.resize(placement_.routes.size());
    index_routes();
    for (int32_t rank = 0; rank < plan_.shape.n_ranks; ++rank) {
      program_.first_lane.push_back(size(program_.lanes));
      add_lanes(rank);
      for (const plan::Lane& lane : plan_.ranks[rank].lanes)
        for (const plan::Step& step : lane.steps) add_step(rank, step);
    }
    program_.first_lane.push_back(size(program_.lanes));
    program_.steps.push_back(next_step());
    list_waiters();
    return std::move(program_);
  }

 private:
  template <typename T>
  static uint32_t size(const std::vector<T>& list) {
    return static_cast<uint32_t>(list.size());
  }

  void index_routes() {
    first_route_.assign(placement_.node_of_rank.size() + 1, 0);
    for (const Route& route : placement_.routes) ++first_route_[route.source_rank + 1];
    for (size_t rank = 1; rank < first_route_.size(); ++rank)
      first_route_[rank] += first_route_[rank - 1];
  }

  uint32_t connection_of(int32_t source, int32_t sink, int32_t channel) const {
    const auto begin = placement_.routes.begin();
    const auto at = std::lower_bound(
        begin + first_route_[source], begin + first_route_[source + 1], std::tuple(sink, channel),
        [](const Route& r, const auto& key) { return std::tuple(r.sink_rank, r.channel) < key; });
    return static_cast<uint32_t>(at - begin);
  }

  void add_lanes(int32_t rank) {
    uint32_t first_step = size(program_.steps);
    for (const plan::Lane& lane : plan_.ranks[rank].lanes) {
      const uint32_t number = size(program_.lanes) - program_.first_lane.back();
      program_.lanes.push_back({rank, number, first_step, size(lane.steps), {}});
      first_step += size(lane.steps);
    }
  }

  FlatStep next_step() const {
    return {.first_receive = size(program_.receives),
            .first_send = size(program_.sends),
            .first_wait = size(program_.waits)};
  }

  void add_step(int32_t rank, const plan::Step& step) {
    const uint32_t lane = lane_of_next_step();
    FlatStep flat = next_step();
    flat.data = step.extent != plan::kNoExtent;
    flat.sources = sources_of(rank, step);
    flat.messages = messages_of(rank, step);
    const bool elided = flat.data && data_ == Data::kNone;
    for (const Operand& source : step.sources) {
      if (elided || source.kind != Operand::Kind::kPeer) continue;
      program_.receives.push_back(connection_of(source.index, rank, source.channel));
      program_.connections[program_.receives.back()].sink_lane = lane;
    }
    for (const Operand& sink : step.sinks) {
      if (sink.kind != Operand::Kind::kPeer) ++flat.local_sinks;
      if (elided || sink.kind != Operand::Kind::kPeer) continue;
      program_.sends.push_back(connection_of(rank, sink.index, sink.channel));
      program_.connections[program_.sends.back()].source_lane = lane;
    }
    for (const plan::Wait& wait : step.waits)
      program_.waits.push_back({program_.first_lane[rank] + wait.lane, wait.step});
    program_.steps.push_back(flat);
  }

  bool is_served(int32_t rank, const Operand& operand, plan::SwitchChannel::Kind kind) const {
    const plan::SwitchChannel entry{rank, operand.channel, kind};
    return operand.kind == Operand::Kind::kPeer &&
           std::ranges::binary_search(plan_.switch_channels, entry);
  }

  // Where a switch adds, it adds all of them.
  uint16_t sources_of(int32_t rank, const plan::Step& step) const {
    const bool served = std::ranges::any_of(step.sources, [&](const Operand& source) {
      return is_served(rank, source, plan::SwitchChannel::Kind::kReduce);
    });
    return served ? 1 : static_cast<uint16_t>(step.sources.size());
  }

  uint16_t messages_of(int32_t rank, const plan::Step& step) const {
    int messages = 0;
    std::vector<int32_t> multicasts;  // channels
    for (const Operand& sink : step.sinks) {
      if (sink.kind != Operand::Kind::kPeer) continue;
      if (!is_served(rank, sink, plan::SwitchChannel::Kind::kMulticast)) {
        ++messages;
      } else if (std::ranges::find(multicasts, sink.channel) == multicasts.end()) {
        multicasts.push_back(sink.channel);
      }
    }
    return static_cast<uint16_t>(messages + static_cast<int>(multicasts.size()));
  }

  uint32_t lane_of_next_step() {
    const auto ended = [&](const FlatLane& lane) {
      return lane.first_step + lane.steps <= size(program_.steps);
    };
    while (ended(program_.lanes[at_lane_])) ++at_lane_;
    return at_lane_;
  }

  void list_waiters() {
    for (uint32_t lane = 0; lane < program_.lanes.size(); ++lane) {
      const FlatLane& own = program_.lanes[lane];
      for (uint32_t step = own.first_step; step < own.first_step + own.steps; ++step)
        for (const FlatWait& wait : program_.waits_of(step)) {
          std::vector<uint32_t>& waiters = program_.lanes[wait.lane].waiters;
          if (waiters.empty() || waiters.back() != lane) waiters.push_back(lane);
        }
    }
  }

  const plan::Plan& plan_;
  const Placement& placement_;
  const Data data_;
  LaneProgram program_;
  std::vector<uint32_t> first_route_;  // by source rank, and one past the last
  uint32_t at_lane_ = 0;
};

}  // namespace

LaneProgram flatten(const plan::Plan& plan, const Placement& placement, Data data) {
  return Flattener(plan, placement, data).flatten();
}

}  // namespace tutti::verify
