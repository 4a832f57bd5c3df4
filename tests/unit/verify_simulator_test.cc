// SPDX-License-Identifier: Apache-2.0
// Simulated times: closed forms of the literature, textbook cases of sharing, and what each
// parameter does.
#include <algorithm>
#include <chrono>
#include <cmath>
#include <functional>
#include <limits>
#include <optional>
#include <utility>
#include <vector>

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <spdlog/fmt/fmt.h>

#include "src/planner/planner.h"
#include "src/verify/network.h"
#include "src/verify/routes.h"
#include "src/verify/simulator.h"
#include "tests/support/fabric.h"
#include "tests/support/hand_plans.h"
#include "tests/support/refusal.h"
#include "topology/synthetic.h"

namespace tutti::verify {
namespace {

using plan::Collective;
using ::testing::ElementsAre;
using testing::Fabric;
using ::testing::HasSubstr;
using testing::in;
using testing::in_pre;
using testing::kMbitPerBytePerNs;
using testing::lane;
using testing::out;
using testing::peer;
using testing::refusal;
using testing::step;

plan::Plan planned(Collective collective, const char* algorithm, int32_t n_ranks) {
  return planner::find_algorithm(collective, algorithm)
      ->build({.collective = collective, .n_ranks = n_ranks});
}

SimulationResult simulated(const plan::Plan& plan, const Fabric& fabric, uint64_t block_bytes,
                           const SimulationParameters& parameters = {}) {
  return simulate(plan, place_by_shortest_paths(plan, fabric.graph, fabric.hosts), fabric.graph,
                  block_bytes, parameters);
}

// ---- closed forms on a star ----

constexpr double kB = 10;         // bytes per ns of each host, each way
constexpr int64_t kHopNs = 1500;  // of each of the two hops from host to host
constexpr double kAlpha = 2 * kHopNs;

Fabric star(int32_t hosts) { return testing::star(hosts, 10 * kMbitPerBytePerNs, kHopNs); }

// n ranks, blocks of m bytes.
struct ClosedForm {
  const char* name;
  Collective collective;
  const char* algorithm;
  int32_t n;
  double m;
  SimulationParameters parameters;
  std::function<double(double n, double m, double k)> expected_ns;  // k: ceil(log2 n)
};

constexpr double kGamma = 0.05;
constexpr double kOverhead = 700;

const ClosedForm kClosedForms[] = {
    {"ring",
     Collective::kAllGather,
     "ring",
     16,
     1e6,
     {},
     [](double n, double m, double) { return (n - 1) * (kAlpha + m / kB); }},
    {"ring, reductions",
     Collective::kReduceScatter,
     "ring",
     16,
     1e6,
     {.reduce_ns_per_byte = kGamma},
     [](double n, double m, double) { return (n - 1) * (kAlpha + m / kB + kGamma * m); }},
    {"ring",
     Collective::kAllReduce,
     "ring",
     16,
     4e6,
     {},
     [](double n, double m, double) { return 2 * (n - 1) * (kAlpha + m / n / kB); }},
    {"ring, small",
     Collective::kAllReduce,
     "ring",
     32,
     8,
     {},
     [](double n, double, double) { return 2 * (n - 1) * kAlpha; }},
    {"ring, messages and reductions",
     Collective::kAllReduce,
     "ring",
     16,
     4e6,
     {.message_ns = kOverhead, .reduce_ns_per_byte = kGamma},
     [](double n, double m, double) {
       return 2 * (n - 1) * (kOverhead + kAlpha + m / n / kB) + (n - 1) * kGamma * m / n;
     }},
    {"ring, slow channel",
     Collective::kAllReduce,
     "ring",
     16,
     4e6,
     {.channel_bytes_per_ns = 4},
     [](double n, double m, double) { return 2 * (n - 1) * (kAlpha + m / n / 4); }},
    {"chain, one tile",
     Collective::kBroadcast,
     "chain",
     8,
     1e6,
     {},
     [](double n, double m, double) { return (n - 1) * (kAlpha + m / kB); }},
    // The first of 64 tiles comes to the end of the chain, then one after the other.
    {"chain, 64 tiles",
     Collective::kBroadcast,
     "chain",
     8,
     64 * 65536,
     {.slot_bytes = 65536},
     [](double n, double m, double) {
       return (n - 1) * (kAlpha + m / 64 / kB) + 63 * m / 64 / kB;
     }},
    // A rank with j children sends to all of them at once, j m / B; the deepest path has k such.
    {"binomial",
     Collective::kBroadcast,
     "binomial",
     32,
     1e6,
     {},
     [](double, double m, double k) { return k * kAlpha + k * (k + 1) / 2 * m / kB; }},
    // Each child comes later than the one before it; the last starts the sum of all.
    {"binomial, reductions",
     Collective::kReduce,
     "binomial",
     32,
     1e6,
     {.reduce_ns_per_byte = kGamma},
     [](double, double m, double k) {
       return k * (kAlpha + m / kB) + kGamma * m * k * (k + 1) / 2;
     }},
    {"up and down both trees, small",
     Collective::kAllReduce,
     "tree",
     32,
     8,
     {},
     [](double, double, double k) { return 2 * k * kAlpha; }},
    // Each rank sends and receives 2 m in all, over many tiles.
    {"both trees, 4096 tiles",
     Collective::kAllReduce,
     "tree",
     16,
     2 * 4096 * 1e6,
     {.slot_bytes = 1000000},
     [](double, double m, double) { return 2 * m / kB; }},
    {"recursive doubling, reductions",
     Collective::kAllReduce,
     "recursive_doubling",
     16,
     1e6,
     {.reduce_ns_per_byte = kGamma},
     [](double, double m, double k) { return k * (kAlpha + m / kB + kGamma * m); }},
    {"halving and doubling, large",
     Collective::kAllReduce,
     "halving_doubling",
     32,
     1e10,
     {},
     [](double n, double m, double) { return 2 * (n - 1) / n * m / kB; }},
    {"recursive halving, large",
     Collective::kReduceScatter,
     "recursive_halving",
     32,
     1e9,
     {},
     [](double n, double m, double) { return (n - 1) * m / kB; }},
    {"pairwise",
     Collective::kAllToAll,
     "pairwise",
     24,
     1e6,
     {},
     [](double n, double m, double) { return kAlpha + (n - 1) * m / kB; }},
    // The root's way out is shared by all.
    {"direct",
     Collective::kScatter,
     "direct",
     12,
     1e6,
     {},
     [](double n, double m, double) { return kAlpha + (n - 1) * m / kB; }},
    {"direct",
     Collective::kGather,
     "direct",
     12,
     1e6,
     {},
     [](double n, double m, double) { return kAlpha + (n - 1) * m / kB; }},
    {"dissemination",
     Collective::kBarrier,
     "dissemination",
     24,
     0,
     {},
     [](double, double, double k) { return k * kAlpha; }},
    {"nothing to move",
     Collective::kAllReduce,
     "ring",
     8,
     0,
     {},
     [](double, double, double) { return 0.; }},
};

TEST(Simulator_Star, AgreesWithClosedForms) {
  for (const ClosedForm& row : kClosedForms) {
    const plan::Plan plan = planned(row.collective, row.algorithm, row.n);
    const auto bytes = static_cast<uint64_t>(row.m);
    const SimulationResult result = simulated(plan, star(row.n), bytes, row.parameters);
    const double expected = row.expected_ns(row.n, row.m, std::ceil(std::log2(row.n)));
    EXPECT_NEAR(result.time_ns, expected, 0.01 * expected)
        << row.name << " " << plan::name(row.collective);
  }
}

// ---- properties of every plan ----

// Messages on the longest chain of steps that follow each other in a lane, wait or receive.
int64_t longest_chain(const plan::Plan& plan) {
  Network network;
  EXPECT_EQ(build_network(plan, &network), std::nullopt);
  const Execution execution = execute(network, 1 << 20, 1);
  EXPECT_TRUE(execution.finished);
  std::vector<int64_t> chain(network.nodes.size(), 0);
  for (const NodeId id : execution.order) {
    const Node& node = network.nodes[id];
    if (node.step > 0) chain[id] = chain[id - 1];
    for (const plan::Wait& wait : node.code->waits)
      chain[id] = std::max(chain[id], chain[network.node_of(node.rank, wait.lane, wait.step)]);
    for (const Port& port : node.receives)
      chain[id] =
          std::max(chain[id], chain[network.connections[port.connection].sends[port.message]] + 1);
  }
  return chain.empty() ? 0 : *std::ranges::max_element(chain);
}

template <typename Check>
void for_plans(Check check) {
  for (const planner::AlgorithmRow& row : planner::algorithm_table()) {
    for (const int32_t n : {1, 2, 3, 5, 8, 16, 23}) {
      const planner::PlanRequest request{.collective = row.collective, .n_ranks = n, .channels = 2};
      if (!row.supports(request)) continue;
      SCOPED_TRACE(fmt::format("{} {} of {} ranks", row.name, plan::name(row.collective), n));
      check(row.build(request));
    }
  }
}

TEST(Simulator_TinyMessages, TakeTheLongestChainTimesTheLatency) {
  for_plans([](const plan::Plan& plan) {
    const SimulationResult result =
        simulated(plan, star(plan.shape.n_ranks), 1, {.slots = 1 << 20});
    EXPECT_NEAR(result.time_ns, static_cast<double>(longest_chain(plan)) * kAlpha,
                0.01 * result.time_ns);
  });
}

// No way carries more than its capacity, all that the plan sends comes through, and without latency
// the time in large messages is in proportion to the bytes.
TEST(Simulator_LargeMessages, StayWithinCapacityAndScale) {
  for_plans([](const plan::Plan& plan) {
    constexpr double kBytes = 1 << 24;
    const Fabric fabric = testing::star(plan.shape.n_ranks, 8 * kMbitPerBytePerNs, 0);
    const Placement placement = place_by_shortest_paths(plan, fabric.graph, fabric.hosts);
    const SimulationResult result = simulate(plan, placement, fabric.graph, kBytes);
    const std::vector<LinkLoad> loads = link_loads(plan, placement, fabric.graph);
    const double chunk = kBytes / std::max(1, plan.shape.chunks_per_block);
    const auto check = [&](const LinkUse& use, int64_t chunks) {
      const double expected = static_cast<double>(chunks) * chunk;
      EXPECT_NEAR(use.bytes, expected, 1e-9 * expected);
      EXPECT_LE(use.busy, 1 + 1e-9);
      EXPECT_NEAR(use.busy * 8 * result.time_ns, use.bytes, 1e-9 * use.bytes);
    };
    for (size_t link = 0; link < loads.size(); ++link) {
      check(result.links[link].forward, loads[link].forward_chunks);
      check(result.links[link].reverse, loads[link].reverse_chunks);
    }
    EXPECT_EQ(result.bottlenecks.empty(), result.time_ns == 0);
    const SimulationResult twice = simulate(plan, placement, fabric.graph, 2 * kBytes);
    EXPECT_NEAR(twice.time_ns, 2 * result.time_ns, 1e-9 * twice.time_ns);
  });
}

TEST(Simulator_SameArguments, GiveTheSameBits) {
  const Fabric fabric = testing::fat_tree({.leaves = 4,
                                           .hosts_per_leaf = 4,
                                           .spines = 2,
                                           .host_mbit_s = 100000,
                                           .uplink_mbit_s = 130000,
                                           .host_latency_ns = 700});
  const plan::Plan plan = planned(Collective::kAllReduce, "tree", 16);
  const SimulationParameters parameters{.reduce_ns_per_byte = kGamma, .slot_bytes = 70000};
  const SimulationResult one = simulated(plan, fabric, 3333333, parameters);
  const SimulationResult two = simulated(plan, fabric, 3333333, parameters);
  EXPECT_EQ(one.time_ns, two.time_ns);
  EXPECT_EQ(one.finish_ns, two.finish_ns);
  EXPECT_EQ(one.events, two.events);
}

// ---- sharing ----

// Rank s sends block (s, d) to rank d for each pair, each from a lane of its own.
plan::Plan pairs(int32_t n_ranks, const std::vector<std::pair<int32_t, int32_t>>& list) {
  plan::Plan plan = testing::empty_plan(Collective::kAllToAll, n_ranks, 1, 0);
  for (const auto& [s, d] : list) {
    const int32_t extent = s * n_ranks + d;
    plan.ranks[s].lanes.push_back({{step({peer(d)}, {in(d)}, extent)}});
    plan.ranks[d].lanes.push_back({{step({out(s)}, {peer(s)}, extent)}});
  }
  return plan;
}

// Hosts in a row: a line of links, one host between each two.
Fabric line(const std::vector<int64_t>& bytes_per_ns) {
  Fabric fabric;
  add_node(fabric.graph, "cluster", topology::NodeKind::kCluster, -1);
  for (size_t i = 0; i <= bytes_per_ns.size(); ++i)
    fabric.hosts.push_back(
        add_node(fabric.graph, fmt::format("h{}", i), topology::NodeKind::kMachine, 0));
  for (size_t i = 0; i < bytes_per_ns.size(); ++i)
    add_link(fabric.graph, fabric.hosts[i], fabric.hosts[i + 1], topology::LinkType::kNetwork,
             bytes_per_ns[i] * kMbitPerBytePerNs, 0);
  return fabric;
}

TEST(Simulator_Sharing, IsThatOfTheTextbook) {
  struct Row {
    const char* name;
    std::vector<int64_t> line;
    std::vector<std::pair<int32_t, int32_t>> pairs;
    double cap;
    std::vector<double> finish_ns;  // by rank, when each pair has 1000 bytes
  };
  constexpr double kNoCap = std::numeric_limits<double>::infinity();
  const Row rows[] = {
      // 5 each.
      {"three flows, two links", {10, 10}, {{0, 2}, {0, 1}, {1, 2}}, kNoCap, {200, 200, 200}},
      // 2, 8 and 2: when the quick one leaves after 125 ns, the others still have 4 to share.
      {"a narrow link", {10, 4}, {{0, 2}, {0, 1}, {1, 2}}, kNoCap, {500, 500, 500}},
      // 4 and 6.
      {"a narrow link, one each", {10, 4}, {{0, 2}, {0, 1}}, kNoCap, {250, 1000. / 6, 250}},
      // 3 for each of the three that cross the middle, 7 for the one that does not.
      {"parking lot",
       {10, 9, 10},
       {{0, 3}, {0, 1}, {1, 2}, {1, 3}},
       kNoCap,
       {1000. / 3, 1000. / 3, 1000. / 3, 1000. / 3}},
      {"a capped channel", {5}, {{0, 1}}, 2, {500, 500}},
      {"both ways at once", {10}, {{0, 1}, {1, 0}}, kNoCap, {100, 100}},
  };
  for (const Row& row : rows) {
    const Fabric fabric = line(row.line);
    const plan::Plan plan = pairs(static_cast<int32_t>(fabric.hosts.size()), row.pairs);
    const SimulationResult result =
        simulated(plan, fabric, 1000, {.channel_bytes_per_ns = row.cap});
    EXPECT_THAT(result.finish_ns, ::testing::Pointwise(::testing::DoubleNear(1e-6), row.finish_ns))
        << row.name;
  }
}

// When a flow ends, those that are left take what it had: 1000 bytes and 3000 bytes over one link
// of 10 bytes per ns end after 200 ns and after 400 ns.
TEST(Simulator_Sharing, GrowsWhenAFlowLeaves) {
  plan::Plan plan = testing::empty_plan(Collective::kBroadcast, 2, 4, 2);
  plan.channels = 2;
  lane(plan, 0, 0) = {step({peer(1)}, {in(0)}, 0)};
  lane(plan, 1, 0) = {step({out(0)}, {peer(0)}, 0)};
  for (int32_t c = 1; c < 4; ++c) {
    lane(plan, 0, 1).push_back(step({plan::Operand::peer(1, 1)}, {in(c)}, c));
    lane(plan, 1, 1).push_back(step({out(c)}, {plan::Operand::peer(0, 1)}, c));
  }
  const SimulationResult result = simulated(plan, line({10}), 4000);
  EXPECT_DOUBLE_EQ(result.time_ns, 400);
  EXPECT_DOUBLE_EQ(result.links[0].forward.bytes, 4000);
  EXPECT_DOUBLE_EQ(result.links[0].forward.busy, 1);
  EXPECT_THAT(result.bottlenecks, ElementsAre(Hop{0, false}));
}

// b bytes to each rank outside of the leaf, over uplinks of U: the cut of a leaf is busy all the
// time.
TEST(Simulator_OversubscribedFatTree, AllToAllTakesTheCut) {
  constexpr int32_t kHosts = 8, kRanks = 32;
  const Fabric fabric = testing::fat_tree({.leaves = kRanks / kHosts,
                                           .hosts_per_leaf = kHosts,
                                           .spines = 1,
                                           .host_mbit_s = 10 * kMbitPerBytePerNs,
                                           .uplink_mbit_s = 5 * kMbitPerBytePerNs});
  const SimulationResult result =
      simulated(planned(Collective::kAllToAll, "pairwise", kRanks), fabric, 1000000);
  const double cut_ns = 1e6 * kHosts * (kRanks - kHosts) / 5;
  EXPECT_GE(result.time_ns, cut_ns);
  EXPECT_NEAR(result.time_ns, cut_ns, 0.01 * cut_ns);
  EXPECT_EQ(result.bottlenecks.size(), 8U);  // each leaf's uplink, both ways
}

// ---- tiles, slots, windows ----

// Rank 0 sends a block to rank 1, which adds it to its own at gamma.
plan::Plan send_and_add(int32_t slots, int32_t tiles_in_flight) {
  plan::Plan plan = testing::empty_plan(Collective::kReduce, 2, 1);
  plan.slots = slots;
  plan.tiles_in_flight = tiles_in_flight;
  plan.shape.root = 1;
  lane(plan, 0) = {step({peer(1)}, {in_pre(0)}, 0)};
  lane(plan, 1) = {step({out(0)}, {in_pre(0), peer(0)}, 0, true)};
  return plan;
}

TEST(Simulator_Tiles, ArePipelinedAsFarAsSlotsReach) {
  // A tile of 1000 bytes takes 100 ns on the link and `reduce` ns to add; the hop takes none.
  struct Row {
    const char* name;
    int32_t slots;
    double reduce_ns;
    double expected_ns;
  };
  const Row rows[] = {
      // 10 sends, then the last is added.
      {"two slots, quick sum", 2, 50, 10 * 100 + 50},
      // One slot: the next send waits for the sum.
      {"one slot", 1, 50, 10 * (100 + 50)},
      {"two slots, slow sum", 2, 300, 100 + 10 * 300},
  };
  for (const Row& row : rows) {
    const SimulationResult result =
        simulated(send_and_add(row.slots, 8), line({10}), 10000,
                  {.reduce_ns_per_byte = row.reduce_ns / 1000, .slot_bytes = 1000});
    EXPECT_NEAR(result.time_ns, row.expected_ns, 1e-6) << row.name;
    EXPECT_NEAR(result.finish_ns[1], row.expected_ns, 1e-6) << row.name;
  }
}

TEST(Simulator_LastTile, HoldsWhatIsLeft) {
  const SimulationResult result =
      simulated(send_and_add(8, 8), line({10}), 2500, {.slot_bytes = 1000});
  EXPECT_DOUBLE_EQ(result.time_ns, 250);
  EXPECT_DOUBLE_EQ(result.links[0].forward.bytes, 2500);
}

TEST(Simulator_Slots, OfParametersReplaceThoseOfThePlan) {
  const SimulationParameters one{.reduce_ns_per_byte = 0.05, .slot_bytes = 1000, .slots = 1};
  EXPECT_NEAR(simulated(send_and_add(8, 8), line({10}), 10000, one).time_ns, 1500, 1e-6);
}

// Lane 0 could run ahead, lane 1 of the same rank copies for 400 ns a tile. Rank 1 gets a tile in
// 100 ns and copies it in 200.
TEST(Simulator_Window, HoldsLanesOfARankTogether) {
  const auto finish_with = [](int32_t tiles_in_flight) {
    plan::Plan plan = testing::empty_plan(Collective::kBroadcast, 2, 1, 2);
    plan.slots = 16;
    plan.tiles_in_flight = tiles_in_flight;
    lane(plan, 0, 0) = {step({peer(1)}, {in(0)}, 0)};
    lane(plan, 0, 1) = {step({out(0)}, {in(0)}, 0), step({out(0)}, {in(0)}, 0)};
    lane(plan, 1, 0) = {step({out(0)}, {peer(0)}, 0)};
    return simulated(plan, line({10}), 4000, {.copy_ns_per_byte = 0.2, .slot_bytes = 1000})
        .finish_ns;
  };
  EXPECT_THAT(finish_with(1), ElementsAre(1600, 3 * 400 + 100 + 200));
  EXPECT_THAT(finish_with(2), ElementsAre(1600, 2 * 400 + 100 + 200));
  EXPECT_THAT(finish_with(8), ElementsAre(1600, 100 + 4 * 200));
}

// A copy takes 300 ns, a message 100: the messages go after the first copy, not after both.
TEST(Simulator_Wait, DelaysAStepUntilTheOtherHasEnded) {
  plan::Plan plan = testing::empty_plan(Collective::kBroadcast, 2, 2, 2);
  lane(plan, 0, 0) = {step({out(0)}, {in(0)}, 0), step({out(1)}, {in(1)}, 1)};
  lane(plan, 0, 1) = {step({peer(1)}, {in(0)}, 0, false, {{.lane = 0, .step = 0}}),
                      step({peer(1)}, {in(1)}, 1)};
  lane(plan, 1, 0) = {step({out(0)}, {peer(0)}, 0), step({out(1)}, {peer(0)}, 1)};
  const SimulationResult result = simulated(plan, line({10}), 2000, {.copy_ns_per_byte = 0.3});
  EXPECT_THAT(result.finish_ns, ElementsAre(600, 300 + 100 + 2 * 300));
}

// ---- latency and places ----

TEST(Simulator_Latency, IsTheLinksOrTheTypesDefault) {
  Fabric fabric = line({10, 10});
  fabric.graph.links[0].latency_ns = 40;
  fabric.graph.links[1].latency_ns = topology::kUnknown;
  const plan::Plan plan = pairs(3, {{0, 2}});
  EXPECT_DOUBLE_EQ(simulated(plan, fabric, 1000).time_ns, 100 + 40 + 1500);
  fabric.graph.links[1].type = topology::LinkType::kNvLink;
  EXPECT_DOUBLE_EQ(simulated(plan, fabric, 1000).time_ns, 100 + 40 + 600);
  SimulationParameters parameters;
  parameters.hop_ns[static_cast<size_t>(topology::LinkType::kNvLink)] = 7;
  EXPECT_DOUBLE_EQ(simulated(plan, fabric, 1000, parameters).time_ns, 100 + 40 + 7);
}

TEST(Simulator_RanksOnOneNode, TalkFreelyOrAtTheCap) {
  Fabric fabric = line({10});
  fabric.hosts = {fabric.hosts[0], fabric.hosts[0]};
  EXPECT_EQ(simulated(pairs(2, {{0, 1}}), fabric, 1000).time_ns, 0);
  EXPECT_DOUBLE_EQ(simulated(pairs(2, {{0, 1}}), fabric, 1000, {.channel_bytes_per_ns = 4}).time_ns,
                   250);
}

// ---- refusals ----

TEST(Simulator_BadArguments, AreNamed) {
  const plan::Plan plan = pairs(2, {{1, 0}});
  const auto with_capacity = [&](int64_t reverse_mbit_s) {
    Fabric fabric = line({10});
    const Placement placement = place_by_shortest_paths(plan, fabric.graph, fabric.hosts);
    fabric.graph.links[0].reverse_mbit_s = reverse_mbit_s;
    return refusal([&] { simulate(plan, placement, fabric.graph, 1); });
  };
  EXPECT_THAT(with_capacity(0), HasSubstr("the route from rank 1 to rank 0, channel 0, crosses "
                                          "network link 0 from h1 to h0, which is down"));
  EXPECT_THAT(with_capacity(topology::kUnknown),
              HasSubstr("link 0 from h1 to h0, whose capacity is unknown"));

  const auto with = [&](const SimulationParameters& parameters) {
    return refusal([&] { simulated(plan, line({10}), 1 << 30, parameters); });
  };
  EXPECT_THAT(with({.message_ns = -1}), HasSubstr("expected message_ns of at least 0, got -1"));
  EXPECT_THAT(with({.reduce_ns_per_byte = NAN}), HasSubstr("reduce_ns_per_byte"));
  EXPECT_THAT(with({.copy_ns_per_byte = INFINITY}), HasSubstr("copy_ns_per_byte"));
  EXPECT_THAT(with({.channel_bytes_per_ns = 0}), HasSubstr("channel_bytes_per_ns above 0, got 0"));
  EXPECT_THAT(with({.slots = -2}), HasSubstr("expected slots of at least 0, got -2"));
  EXPECT_THAT(with({.hop_ns = {0, 0, -3}}), HasSubstr("hop_ns of pcie of at least 0, got -3"));
}

TEST(Simulator_StuckPlan, SaysWhoWaits) {
  const plan::Plan ring = planned(Collective::kAllReduce, "ring", 3);
  EXPECT_NO_THROW(simulated(ring, star(3), 3000, {.slots = 2}));
  EXPECT_THAT(refusal([&] { simulated(ring, star(3), 3000, {.slots = 1}); }),
              HasSubstr("rank 0 lane 0 step 1 (tile 0) waits for a free slot that never comes"));
}

// ---- size ----

TEST(Simulator_ThousandGpus, RingTakesSeconds) {
  const topology::Graph graph = topology::synthetic("dgx-h100 x128");
  const plan::Plan plan = planned(Collective::kAllReduce, "ring", 1024);
  const Placement placement = place_by_shortest_paths(
      plan, graph, topology::nodes_of_kind(graph, topology::NodeKind::kGpu));
  constexpr uint64_t kBytes = uint64_t{1} << 32;
  const auto begin = std::chrono::steady_clock::now();
  const SimulationResult result = simulate(plan, placement, graph, kBytes);
  EXPECT_LT(std::chrono::steady_clock::now() - begin, std::chrono::seconds(60));
  // Between boxes every chunk crosses a NIC of 50 bytes per ns.
  const double limit_ns = 2046. / 1024 * kBytes / 50;
  EXPECT_GE(result.time_ns, limit_ns);
  EXPECT_NEAR(result.time_ns, limit_ns, 0.01 * limit_ns);
}

}  // namespace
}  // namespace tutti::verify
