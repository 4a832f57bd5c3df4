// SPDX-License-Identifier: Apache-2.0
// The simulator and SimGrid agree on the times of plans on a fat tree of 128 hosts.
#include <unistd.h>

#include <cmath>
#include <cstdio>
#include <cstdlib>
#include <map>
#include <utility>
#include <vector>

#include <sys/wait.h>

#include "src/planner/planner.h"
#include "src/verify/routes.h"
#include "src/verify/simulator.h"
#include "tests/simgrid/replay.h"
#include "tests/support/fabric.h"

namespace tutti::testing {
namespace {

using plan::Collective;

constexpr int32_t kRanks = 128;
struct Case {
  const char* name;
  Collective collective;
  const char* algorithm;
  uint64_t message_bytes;
  int32_t tiles;
  Latency latency;
};

// Where a sender waits for nothing but its bandwidth, SimGrid's way of counting latency costs it a
// latency for each message, so its small messages are compared the simulator's way.
constexpr Case kCases[] = {
    {"ring, small", Collective::kAllReduce, "ring", 8000, 1, Latency::kOfLinks},
    {"ring, large", Collective::kAllReduce, "ring", 1000000, 1, Latency::kOfLinks},
    {"tree", Collective::kAllReduce, "tree", 1000000, 1, Latency::kOfLinks},
    {"tree, 24 tiles", Collective::kAllReduce, "tree", 1000000, 24, Latency::kOfLinks},
    {"tree, 24 small tiles", Collective::kAllReduce, "tree", 20000, 24, Latency::kAfterward},
    {"halving and doubling, small", Collective::kAllReduce, "halving_doubling", 8000, 1,
     Latency::kAfterward},
    {"halving and doubling, large", Collective::kAllReduce, "halving_doubling", 1000000, 1,
     Latency::kOfLinks},
    {"pairwise, small", Collective::kAllToAll, "pairwise", 30000, 1, Latency::kAfterward},
    {"pairwise, large", Collective::kAllToAll, "pairwise", 1000000, 1, Latency::kOfLinks},
};

// Counted alike, the two should differ by rounding only.
double tolerance(Latency latency) { return latency == Latency::kAfterward ? 0.001 : 0.05; }

// Two hosts share what one could use beyond the leaf. All latency is in the links of the hosts:
// SimGrid gives flows of longer latency less, as TCP does.
Fabric fabric() {
  return fat_tree({.leaves = 8,
                   .hosts_per_leaf = 16,
                   .spines = 8,
                   .host_mbit_s = 100'000,
                   .uplink_mbit_s = 100'000,
                   .host_latency_ns = 1500,
                   .uplink_latency_ns = 0});
}

// SimGrid knows one route from host to host, so all channels of a pair take that of the first.
verify::Placement placed(const plan::Plan& plan, const Fabric& fabric) {
  verify::Placement placement = verify::place_by_shortest_paths(plan, fabric.graph, fabric.hosts);
  std::map<std::pair<int32_t, int32_t>, std::vector<verify::Hop>> first;
  for (verify::Route& route : placement.routes)
    route.hops = first.try_emplace({route.source_rank, route.sink_rank}, route.hops).first->second;
  return placement;
}

int run(const Case& test) {
  const plan::Plan plan = planner::find_algorithm(test.collective, test.algorithm)
                              ->build({.collective = test.collective, .n_ranks = kRanks});
  const Fabric network = fabric();
  const verify::Placement placement = placed(plan, network);
  const uint64_t block_bytes = test.message_bytes * test.tiles * plan.shape.chunks_per_block;
  const double simulated = verify::simulate(plan, placement, network.graph, block_bytes,
                                            {.slot_bytes = test.message_bytes})
                               .time_ns;
  const double replayed = replay_ns({.plan = plan,
                                     .placement = placement,
                                     .graph = network.graph,
                                     .message_bytes = static_cast<double>(test.message_bytes),
                                     .tiles = test.tiles,
                                     .latency = test.latency});
  const double difference = simulated / replayed - 1;
  std::printf("%s: simulator %.0f ns, SimGrid %.0f ns, %+.2f %%\n", test.name, simulated, replayed,
              100 * difference);
  return std::abs(difference) <= tolerance(test.latency) ? 0 : 1;
}

// SimGrid has one engine per process.
bool agrees(const Case& test) {
  const pid_t child = fork();
  if (child == 0) std::exit(run(test));
  int status = 1;
  return child > 0 && waitpid(child, &status, 0) == child && status == 0;
}

}  // namespace
}  // namespace tutti::testing

int main() {
  int failures = 0;
  for (const auto& test : tutti::testing::kCases) failures += tutti::testing::agrees(test) ? 0 : 1;
  return failures == 0 ? 0 : 1;
}
