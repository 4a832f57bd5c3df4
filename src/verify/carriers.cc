// SPDX-License-Identifier: Apache-2.0
// Numbers links' ways and lists what each carrier crosses.
#include "src/verify/carriers.h"

#include <algorithm>
#include <utility>

#include <spdlog/fmt/fmt.h>

#include "src/base/error.h"

namespace tutti::verify {
namespace {

constexpr double kBytesPerNsPerMbit = 1e6 / 8 / 1e9;

[[noreturn]] void refuse(const std::string& what) {
  throw Error(StatusCode::kInvalidArgument, "simulation: " + what);
}

uint32_t way_of(const Hop& hop) {
  return 2 * static_cast<uint32_t>(hop.link) + (hop.reverse ? 1 : 0);
}

void check_capacity(const topology::Graph& graph, const Route& route, const Hop& hop) {
  const topology::Link& link = graph.links[hop.link];
  const int64_t capacity = hop.reverse ? link.reverse_mbit_s : link.forward_mbit_s;
  if (capacity > 0) return;
  const int32_t from = hop.reverse ? link.to : link.from;
  const int32_t to = hop.reverse ? link.from : link.to;
  refuse(
      fmt::format("the route from rank {} to rank {}, channel {}, crosses {} link {} from {} to "
                  "{}, {}",
                  route.source_rank, route.sink_rank, route.channel, to_text(link.type), hop.link,
                  graph.nodes[from].id, graph.nodes[to].id,
                  capacity == 0 ? "which is down" : "whose capacity is unknown"));
}

double latency_of(const Route& route, const topology::Graph& graph,
                  const SimulationParameters& parameters) {
  double latency_ns = 0;
  for (const Hop& hop : route.hops) {
    const topology::Link& link = graph.links[hop.link];
    latency_ns += link.latency_ns == topology::kUnknown
                      ? parameters.hop_ns[static_cast<size_t>(link.type)]
                      : static_cast<double>(link.latency_ns);
  }
  return latency_ns;
}

// The connections of switch channels leave their carriers, which are there already, for the tree's.
void add_trees(std::vector<SwitchTree> trees, Ways* ways) {
  for (const SwitchTree& tree : trees) {
    const auto carrier = static_cast<uint32_t>(ways->latency_ns.size());
    double latency_ns = ways->latency_ns[tree.loop];
    for (const uint32_t connection : tree.connections) {
      ways->carriers[connection] = carrier;
      latency_ns = std::max(latency_ns, ways->latency_ns[connection]);
    }
    ways->first_hop.push_back(static_cast<uint32_t>(ways->hops.size()));
    for (const Hop& hop : tree.hops) ways->hops.push_back(way_of(hop));
    ways->latency_ns.push_back(latency_ns);
  }
  ways->trees = std::move(trees);
}

}  // namespace

Ways ways_of(const plan::Plan& plan, const Placement& placement, const topology::Graph& graph,
             const SimulationParameters& parameters) {
  Ways ways;
  for (const topology::Link& link : graph.links) {
    ways.bytes_per_ns.push_back(static_cast<double>(link.forward_mbit_s) * kBytesPerNsPerMbit);
    ways.bytes_per_ns.push_back(static_cast<double>(link.reverse_mbit_s) * kBytesPerNsPerMbit);
  }
  for (const Route& route : placement.routes) {
    ways.carriers.push_back(static_cast<uint32_t>(ways.carriers.size()));
    ways.first_hop.push_back(static_cast<uint32_t>(ways.hops.size()));
    for (const Hop& hop : route.hops) {
      check_capacity(graph, route, hop);
      ways.hops.push_back(way_of(hop));
    }
    ways.latency_ns.push_back(latency_of(route, graph, parameters));
  }
  add_trees(switch_trees(plan, placement, graph), &ways);
  ways.first_hop.push_back(static_cast<uint32_t>(ways.hops.size()));
  ways.bytes_carried.assign(ways.latency_ns.size(), 0);
  return ways;
}

}  // namespace tutti::verify
