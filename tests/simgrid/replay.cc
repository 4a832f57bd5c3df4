// SPDX-License-Identifier: Apache-2.0
// The platform from the graph, an actor per lane and a courier per message. A second of SimGrid is
// a nanosecond here, so that its precision, which is absolute, is far below what is measured.
#include "tests/simgrid/replay.h"

#include <algorithm>
#include <map>
#include <memory>
#include <set>
#include <stdexcept>
#include <string>
#include <tuple>
#include <utility>
#include <vector>

#include <simgrid/s4u.hpp>

namespace tutti::testing {
namespace {

namespace sg = simgrid::s4u;

constexpr double kBytesPerNsPerMbit = 1.25e-4;

struct Connection {
  sg::SemaphorePtr room;
  sg::SemaphorePtr arrived = sg::Semaphore::create(0);
  double latency_ns = 0;
};

// How far the lanes of a rank are: a lane may begin tile t when all have done t - tiles_in_flight.
struct Window {
  std::vector<int32_t> tiles_done;  // by lane
  sg::MutexPtr mutex = sg::Mutex::create();
  sg::ConditionVariablePtr moved = sg::ConditionVariable::create();
};

class Replay {
 public:
  explicit Replay(const ReplayRequest& request) : request_(request) {}

  double run() {
    char name[] = "replay";
    char quiet[] = "--log=xbt_cfg.thres:warning";
    char* arguments[] = {name, quiet, nullptr};
    int count = 2;
    sg::Engine engine(&count, arguments);
    configure();
    build_platform();
    for (int32_t rank = 0; rank < request_.plan.shape.n_ranks; ++rank) start_lanes(rank);
    engine.run();
    return finish_ns_;
  }

 private:
  // The bare model: links shared max-min fairly, nothing made up for TCP.
  static void configure() {
    sg::Engine::set_config("network/model:CM02");
    sg::Engine::set_config("network/bandwidth-factor:1");
    sg::Engine::set_config("network/latency-factor:1");
    sg::Engine::set_config("network/weight-S:0");
    sg::Engine::set_config("network/crosstraffic:0");
    sg::Engine::set_config("network/TCP-gamma:0");
    sg::Engine::set_config("maxmin/precision:1e-9");
    sg::Engine::set_config("contexts/stack-size:128");
  }

  void build_platform() {
    sg::NetZone* zone = sg::create_full_zone("graph");
    for (size_t i = 0; i < request_.graph.links.size(); ++i) {
      const topology::Link& link = request_.graph.links[i];
      ways_.push_back(make_way(zone, i, 'f', link.forward_mbit_s, link.latency_ns));
      ways_.push_back(make_way(zone, i, 'r', link.reverse_mbit_s, link.latency_ns));
    }
    for (int32_t rank = 0; rank < request_.plan.shape.n_ranks; ++rank)
      hosts_.push_back(zone->create_host(std::to_string(rank), 1.0));
    std::set<std::pair<int32_t, int32_t>> pairs;
    for (const verify::Route& route : request_.placement.routes) {
      if (pairs.emplace(route.source_rank, route.sink_rank).second) add_route(zone, route);
      add_connection(route);
    }
    zone->seal();
  }

  sg::Link* make_way(sg::NetZone* zone, size_t number, char which, int64_t mbit_s,
                     int64_t latency_ns) const {
    const double latency = request_.latency == Latency::kOfLinks ? latency_ns : 0;
    return zone
        ->create_link(which + std::to_string(number),
                      static_cast<double>(mbit_s) * kBytesPerNsPerMbit)
        ->set_latency(latency)
        ->seal();
  }

  void add_route(sg::NetZone* zone, const verify::Route& route) const {
    std::vector<sg::LinkInRoute> links;
    for (const verify::Hop& hop : route.hops)
      links.emplace_back(ways_[2 * static_cast<size_t>(hop.link) + (hop.reverse ? 1 : 0)]);
    zone->add_route(hosts_[route.source_rank]->get_netpoint(),
                    hosts_[route.sink_rank]->get_netpoint(), nullptr, nullptr, links, false);
  }

  void add_connection(const verify::Route& route) {
    Connection connection{.room = sg::Semaphore::create(request_.plan.slots)};
    for (const verify::Hop& hop : route.hops)
      connection.latency_ns += static_cast<double>(request_.graph.links[hop.link].latency_ns);
    connections_.emplace(std::tuple(route.source_rank, route.sink_rank, route.channel), connection);
  }

  void start_lanes(int32_t rank) {
    const auto& lanes = request_.plan.ranks[rank].lanes;
    auto window = std::make_shared<Window>();
    window->tiles_done.resize(lanes.size());
    for (size_t lane = 0; lane < lanes.size(); ++lane)
      sg::Actor::create("lane", hosts_[rank], [this, rank, lane, window] {
        run_lane(rank, lane, *window);
        finish_ns_ = std::max(finish_ns_, sg::Engine::get_clock());
      });
  }

  void run_lane(int32_t rank, size_t lane, Window& window) {
    for (int32_t tile = 0; tile < request_.tiles; ++tile) {
      wait_for_window(window, tile);
      for (const plan::Step& step : request_.plan.ranks[rank].lanes[lane].steps)
        run_step(rank, step);
      ++window.tiles_done[lane];
      window.moved->notify_all();
    }
  }

  void wait_for_window(Window& window, int32_t tile) const {
    const std::unique_lock<sg::Mutex> lock(*window.mutex);
    const auto open = [&] {
      return *std::ranges::min_element(window.tiles_done) > tile - request_.plan.tiles_in_flight;
    };
    while (!open()) window.moved->wait(window.mutex);
  }

  void run_step(int32_t rank, const plan::Step& step) {
    if (!step.waits.empty() || step.extent == plan::kNoExtent)
      throw std::logic_error("this plan waits or signals, which the replay does not do");
    for (const plan::Operand& source : step.sources)
      if (source.kind == plan::Operand::Kind::kPeer)
        connections_.at({source.index, rank, source.channel}).arrived->acquire();
    const sg::SemaphorePtr left = sg::Semaphore::create(0);
    int messages = 0;
    for (const plan::Operand& sink : step.sinks) {
      if (sink.kind != plan::Operand::Kind::kPeer) continue;
      connections_.at({rank, sink.index, sink.channel}).room->acquire();
      ++messages;
    }
    for (const plan::Operand& sink : step.sinks)
      if (sink.kind == plan::Operand::Kind::kPeer) send(rank, sink, left);
    for (; messages > 0; --messages) left->acquire();
    for (const plan::Operand& source : step.sources)
      if (source.kind == plan::Operand::Kind::kPeer)
        connections_.at({source.index, rank, source.channel}).room->release();
  }

  void send(int32_t rank, const plan::Operand& sink, const sg::SemaphorePtr& left) {
    Connection& connection = connections_.at({rank, sink.index, sink.channel});
    sg::Host* to = hosts_[sink.index];
    sg::Actor::create("courier", hosts_[rank], [this, rank, to, left, &connection] {
      sg::Comm::sendto(hosts_[rank], to, static_cast<uint64_t>(request_.message_bytes));
      left->release();
      if (request_.latency == Latency::kAfterward) sg::this_actor::sleep_for(connection.latency_ns);
      connection.arrived->release();
    });
  }

  const ReplayRequest& request_;
  std::vector<sg::Link*> ways_;   // two for each link: forward, reverse
  std::vector<sg::Host*> hosts_;  // by rank
  std::map<std::tuple<int32_t, int32_t, int32_t>, Connection> connections_;
  double finish_ns_ = 0;
};

}  // namespace

double replay_ns(const ReplayRequest& request) { return Replay(request).run(); }

}  // namespace tutti::testing
