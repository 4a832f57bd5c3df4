// SPDX-License-Identifier: Apache-2.0
// Virtual time: lanes run steps, steps send flows, flows end when the links have carried them.
#include "src/verify/simulator.h"

#include <algorithm>
#include <cmath>
#include <functional>
#include <queue>
#include <span>
#include <string_view>

#include <spdlog/fmt/fmt.h>

#include "src/base/error.h"
#include "src/verify/carriers.h"
#include "src/verify/fair_share.h"
#include "src/verify/lane_execution.h"
#include "src/verify/lane_program.h"

namespace tutti::verify {
namespace {

// Events that are so close in time, relative to the time since the start, are one: what happens at
// one time on paper differs by rounding.
constexpr double kSameTime = 1e-12;
constexpr double kNearlyBusiest = 0.99;

[[noreturn]] void refuse(const std::string& what) {
  throw Error(StatusCode::kInvalidArgument, "simulation: " + what);
}

void check_cost(std::string_view name, double value) {
  if (!(value >= 0 && std::isfinite(value)))
    refuse(fmt::format("expected {} of at least 0, got {}", name, value));
}

void check_parameters(const SimulationParameters& parameters) {
  for (size_t type = 0; type < parameters.hop_ns.size(); ++type)
    check_cost(fmt::format("hop_ns of {}", to_text(static_cast<topology::LinkType>(type))),
               parameters.hop_ns[type]);
  check_cost("message_ns", parameters.message_ns);
  check_cost("reduce_ns_per_byte", parameters.reduce_ns_per_byte);
  check_cost("copy_ns_per_byte", parameters.copy_ns_per_byte);
  if (!(parameters.channel_bytes_per_ns > 0))
    refuse(fmt::format("expected channel_bytes_per_ns above 0, got {}",
                       parameters.channel_bytes_per_ns));
  if (parameters.slots < 0)
    refuse(fmt::format("expected slots of at least 0, got {}", parameters.slots));
}

// ---- how chunks are cut into tiles ----

struct Tiles {
  int32_t count = 1;
  double full_bytes = 0;
  double last_bytes = 0;

  double bytes_of(int32_t tile) const { return tile == count - 1 ? last_bytes : full_bytes; }
};

Tiles cut(const plan::Shape& shape, uint64_t block_bytes, uint64_t slot_bytes) {
  if (shape.chunks_per_block == 0) return {};
  const double chunk = static_cast<double>(block_bytes) / shape.chunks_per_block;
  if (slot_bytes == 0 || chunk <= static_cast<double>(slot_bytes)) return {1, chunk, chunk};
  const auto full = static_cast<double>(slot_bytes);
  const double count = std::ceil(chunk / full);
  if (count > INT32_MAX)
    refuse(fmt::format("expected at most {} tiles, got {} of {} bytes per chunk", INT32_MAX, count,
                       slot_bytes));
  return {static_cast<int32_t>(count), full, chunk - (count - 1) * full};
}

// ---- the run ----

struct Event {
  enum class Kind : uint8_t { kLaneReady, kFlowEnd, kArrival };
  double time_ns;
  int64_t number;  // of events before it; among events of one time the first comes first
  Kind kind;
  uint32_t subject;  // lane, flow, connection
  uint32_t version;  // kFlowEnd: of the flow; another one than the flow has now: void

  bool operator>(const Event& other) const {
    return time_ns != other.time_ns ? time_ns > other.time_ns : number > other.number;
  }
};

class Run {
 public:
  Run(const LaneProgram& program, const ExecutionLimits& limits, const Tiles& tiles, Ways* ways,
      const SimulationParameters& parameters)
      : program_(program),
        tiles_(tiles),
        ways_(*ways),
        parameters_(parameters),
        execution_(program, limits),
        shares_(ways->bytes_per_ns),
        flows_left_(program.lanes.size(), 0),
        sent_(ways->trees.size(), 0) {
    result_.finish_ns.resize(program.first_lane.size() - 1, 0);
  }

  SimulationResult run() {
    start_steps();
    set_rates();
    while (!events_.empty()) run_batch();
    if (const auto stuck = execution_.stuck()) refuse(*stuck);
    for (const double ns : result_.finish_ns) result_.time_ns = std::max(result_.time_ns, ns);
    return std::move(result_);
  }

 private:
  struct Flow {
    uint32_t carrier = 0;
    uint32_t version = 0;  // of its end: a new one whenever its rate changes, or the flow
    double bytes_left = 0;
    double rate = 0;  // since since_ns
    double since_ns = 0;
  };

  // All that happens at one time; then the rates once.
  void run_batch() {
    now_ns_ = events_.top().time_ns;
    const double end_ns = now_ns_ * (1 + kSameTime);
    while (!events_.empty() && events_.top().time_ns <= end_ns) {
      const Event event = events_.top();
      events_.pop();
      handle(event);
      start_steps();
    }
    set_rates();
  }

  void handle(const Event& event) {
    if (event.kind == Event::Kind::kFlowEnd && flows_[event.subject].version != event.version)
      return;
    ++result_.events;
    switch (event.kind) {
      case Event::Kind::kLaneReady:
        return send(event.subject);
      case Event::Kind::kFlowEnd:
        return end_flow(event.subject);
      case Event::Kind::kArrival:
        return execution_.arrive(event.subject);
    }
  }

  void schedule(double delay_ns, Event::Kind kind, uint32_t subject, uint32_t version = 0) {
    events_.push({now_ns_ + delay_ns, scheduled_++, kind, subject, version});
  }

  double bytes_of(uint32_t lane) const {
    return program_.steps[execution_.step_of(lane)].data ? tiles_.bytes_of(execution_.tile_of(lane))
                                                         : 0;
  }

  // What the lane itself has to do before its messages go.
  double work_ns(uint32_t lane) const {
    const uint32_t step = execution_.step_of(lane);
    const FlatStep& flat = program_.steps[step];
    const double messages = program_.sends_of(step).empty() ? 0 : flat.messages;
    const double added = std::max(0, flat.sources - 1);
    const double per_byte =
        added * parameters_.reduce_ns_per_byte + flat.local_sinks * parameters_.copy_ns_per_byte;
    return messages * parameters_.message_ns + per_byte * bytes_of(lane);
  }

  void start_steps() {
    while (const auto lane = execution_.start_next()) {
      const double ns = work_ns(*lane);
      if (ns > 0) {
        schedule(ns, Event::Kind::kLaneReady, *lane);
      } else {
        send(*lane);
      }
    }
  }

  // One flow to each peer, all at once. A message that no link and no cap delays has left already.
  void send(uint32_t lane) {
    const double bytes = bytes_of(lane);
    for (const uint32_t connection : program_.sends_of(execution_.step_of(lane))) {
      const uint32_t carrier = ways_.carriers[connection];
      const bool slow =
          !ways_.hops_of(carrier).empty() || std::isfinite(parameters_.channel_bytes_per_ns);
      if (bytes > 0 && slow) {
        ++flows_left_[lane];
        if (all_have_sent(carrier)) begin_flow(carrier, bytes);
      } else {
        schedule(ways_.latency_ns[carrier], Event::Kind::kArrival, connection);
      }
    }
    if (flows_left_[lane] == 0) finish(lane);
  }

  // Of a switch channel's one flow, the last message to be sent begins it: a multicast has all from
  // one step, a reduction one from each contributor, who all wait for the last.
  bool all_have_sent(uint32_t carrier) {
    const SwitchTree* tree = ways_.tree_of(carrier);
    if (tree == nullptr) return true;
    uint32_t& sent = sent_[carrier - ways_.carriers.size()];
    if (++sent < tree->connections.size()) return false;
    sent = 0;
    return true;
  }

  void begin_flow(uint32_t carrier, double bytes) {
    ways_.bytes_carried[carrier] += bytes;
    const uint32_t flow = shares_.add(ways_.hops_of(carrier), parameters_.channel_bytes_per_ns);
    if (flow >= flows_.size()) flows_.resize(flow + 1);
    flows_[flow] = {.carrier = carrier,
                    .version = flows_[flow].version + 1,
                    .bytes_left = bytes,
                    .since_ns = now_ns_};
  }

  void set_rates() {
    for (const uint32_t flow : shares_.update()) set_rate(flow);
  }

  void set_rate(uint32_t number) {
    Flow& flow = flows_[number];
    flow.bytes_left = std::max(0.0, flow.bytes_left - flow.rate * (now_ns_ - flow.since_ns));
    flow.since_ns = now_ns_;
    flow.rate = shares_.rate(number);
    schedule(flow.bytes_left / flow.rate, Event::Kind::kFlowEnd, number, ++flow.version);
  }

  void end_flow(uint32_t number) {
    Flow& flow = flows_[number];
    ++flow.version;
    shares_.remove(number);
    const uint32_t carrier = flow.carrier;
    if (const SwitchTree* tree = ways_.tree_of(carrier))
      for (const uint32_t connection : tree->connections) end_message(carrier, connection);
    else
      end_message(carrier, carrier);
  }

  void end_message(uint32_t carrier, uint32_t connection) {
    schedule(ways_.latency_ns[carrier], Event::Kind::kArrival, connection);
    const uint32_t lane = program_.connections[connection].source_lane;
    if (--flows_left_[lane] == 0) finish(lane);
  }

  void finish(uint32_t lane) {
    result_.finish_ns[program_.lanes[lane].rank] = now_ns_;
    execution_.finish(lane);
  }

  const LaneProgram& program_;
  const Tiles tiles_;
  Ways& ways_;
  const SimulationParameters& parameters_;
  LaneExecution execution_;
  FairShare shares_;
  std::vector<Flow> flows_;           // by FairShare::Flow
  std::vector<uint32_t> flows_left_;  // by lane: messages of its step that have not left
  std::vector<uint32_t> sent_;        // by switch channel: messages that wait for the others
  std::priority_queue<Event, std::vector<Event>, std::greater<>> events_;
  int64_t scheduled_ = 0;
  double now_ns_ = 0;
  SimulationResult result_;
};

// ---- what the links did ----

std::vector<LinkUses> uses_of(const Ways& ways, double time_ns) {
  std::vector<LinkUses> uses(ways.bytes_per_ns.size() / 2);
  const auto use_of = [&](size_t way) -> LinkUse& {
    return way % 2 == 0 ? uses[way / 2].forward : uses[way / 2].reverse;
  };
  for (uint32_t carrier = 0; carrier < ways.bytes_carried.size(); ++carrier)
    for (const uint32_t way : ways.hops_of(carrier))
      use_of(way).bytes += ways.bytes_carried[carrier];
  for (size_t way = 0; way < ways.bytes_per_ns.size(); ++way) {
    LinkUse& use = use_of(way);
    if (use.bytes > 0) use.busy = use.bytes / (ways.bytes_per_ns[way] * time_ns);
  }
  return uses;
}

std::vector<Hop> busiest(const std::vector<LinkUses>& links) {
  double most = 0;
  for (const LinkUses& link : links) most = std::max({most, link.forward.busy, link.reverse.busy});
  std::vector<Hop> found;
  if (most == 0) return found;
  for (int32_t link = 0; link < static_cast<int32_t>(links.size()); ++link) {
    if (links[link].forward.busy >= kNearlyBusiest * most) found.push_back({link, false});
    if (links[link].reverse.busy >= kNearlyBusiest * most) found.push_back({link, true});
  }
  return found;
}

}  // namespace

SimulationResult simulate(const plan::Plan& plan, const Placement& placement,
                          const topology::Graph& graph, uint64_t block_bytes,
                          const SimulationParameters& parameters) {
  check_parameters(parameters);
  plan::check_well_formed(plan);
  check_placement(plan, placement, graph);
  Ways ways = ways_of(plan, placement, graph, parameters);
  const Tiles tiles = cut(plan.shape, block_bytes, parameters.slot_bytes);
  const LaneProgram program =
      flatten(plan, placement, block_bytes == 0 ? Data::kNone : Data::kSome);
  const ExecutionLimits limits{.slots = parameters.slots == 0 ? plan.slots : parameters.slots,
                               .tiles = tiles.count,
                               .tiles_in_flight = plan.tiles_in_flight};
  SimulationResult result = Run(program, limits, tiles, &ways, parameters).run();
  result.links = uses_of(ways, result.time_ns);
  result.bottlenecks = busiest(result.links);
  return result;
}

}  // namespace tutti::verify
