// What switches that add and copy save: links by links, in certificates and in time.
#include <algorithm>
#include <string>
#include <utility>
#include <vector>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "src/verify/certificate.h"
#include "src/verify/routes.h"
#include "src/verify/simulator.h"
#include "src/verify/switch_tree.h"
#include "src/verify/verifier.h"
#include "tests/support/fabric.h"
#include "tests/support/hand_plans.h"
#include "tests/support/refusal.h"

namespace tutti::verify {
namespace {

using testing::Fabric;
using ::testing::HasSubstr;
using testing::refusal;
using testing::switch_all_reduce;

constexpr double kB = 10;  // bytes per ns of each host, each way
constexpr int64_t kHopNs = 500;

// Those whose id begins with `prefix` add and copy; the others do not.
Fabric with_able(Fabric fabric, const std::string& prefix) {
  for (topology::Node& node : fabric.graph.nodes)
    node.attributes.reduces = node.attributes.multicasts = node.id.starts_with(prefix);
  return fabric;
}

Fabric star(int32_t hosts, const char* able = "switch") {
  return with_able(testing::star(hosts, 10 * testing::kMbitPerBytePerNs, kHopNs), able);
}

Fabric two_levels(const char* able) {
  return with_able(testing::fat_tree({.leaves = 2,
                                      .hosts_per_leaf = 2,
                                      .spines = 1,
                                      .host_mbit_s = 80'000,
                                      .uplink_mbit_s = 80'000,
                                      .host_latency_ns = kHopNs,
                                      .uplink_latency_ns = kHopNs}),
                   able);
}

Placement placed(const plan::Plan& plan, const Fabric& fabric) {
  return place_by_shortest_paths(plan, fabric.graph, fabric.hosts);
}

// Each way, of links between hosts and switches, or between switches; all alike.
void expect_loads(const std::vector<LinkLoad>& loads, const topology::Graph& graph, bool of_hosts,
                  int64_t chunks) {
  for (size_t i = 0; i < loads.size(); ++i) {
    const auto is_host = [&](int32_t node) {
      return graph.nodes[node].kind == topology::NodeKind::kMachine;
    };
    if ((is_host(graph.links[i].from) || is_host(graph.links[i].to)) != of_hosts) continue;
    EXPECT_EQ(loads[i].forward_chunks, chunks) << "link " << i;
    EXPECT_EQ(loads[i].reverse_chunks, chunks) << "link " << i;
  }
}

TEST(SwitchTree, Star_CrossesEachLinkOncePerChunkAndOnceForTheOwn) {
  for (const int32_t n : {2, 4, 8}) {
    const plan::Plan plan = switch_all_reduce(n);
    const Fabric fabric = star(n);
    expect_loads(link_loads(plan, placed(plan, fabric), fabric.graph), fabric.graph, true, n + 1);
  }
}

TEST(SwitchTree, StarThatCantDoIt_CrossesLinksAsOftenAsOneToOne) {
  const plan::Plan plan = switch_all_reduce(4);
  const Fabric unable = star(4, "none");
  expect_loads(link_loads(plan, placed(plan, unable), unable.graph), unable.graph, true, 2 * 3);
  // With the ways that an able switch would have, what is the rank's own goes up and down too.
  const Placement placement = placed(plan, star(4));
  expect_loads(link_loads(plan, placement, unable.graph), unable.graph, true, 2 * 4);
}

TEST(SwitchTree, TwoLevels_MergeWhereTheSwitchCan) {
  struct Case {
    const char* able;
    int64_t host, uplink;
  };
  // Leaves: an uplink carries one sum to the other side for each of its two owners, and one copy of
  // each of the own two chunks. Spine alone: the leaf passes on what it gets.
  const Case cases[] = {{"", 5, 4}, {"leaf", 5, 4}, {"spine", 6, 8}, {"none", 6, 8}};
  const plan::Plan plan = switch_all_reduce(4);
  for (const Case& c : cases) {
    SCOPED_TRACE(c.able);
    const Fabric fabric = two_levels(c.able);
    const auto loads = link_loads(plan, placed(plan, fabric), fabric.graph);
    expect_loads(loads, fabric.graph, true, c.host);
    expect_loads(loads, fabric.graph, false, c.uplink);
  }
}

TEST(SwitchTree, Loops_AreAskedForWhereASwitchServes) {
  const plan::Plan plan = switch_all_reduce(3);
  const Fabric fabric = star(3);
  Placement placement = placed(plan, fabric);
  const auto loop = std::ranges::find_if(
      placement.routes, [](const Route& r) { return r.source_rank == 1 && r.sink_rank == 1; });
  ASSERT_NE(loop, placement.routes.end());
  EXPECT_EQ(loop->hops.size(), 2u);
  loop->hops.clear();
  EXPECT_THAT(refusal([&] { link_loads(plan, placement, fabric.graph); }),
              HasSubstr("reduction into rank 1, channel 0: expected the rank's own way to lead to "
                        "a switch that reduces and back"));
  placement.routes.erase(loop);
  EXPECT_THAT(refusal([&] { check_placement(plan, placement, fabric.graph); }),
              HasSubstr("connection 1 to 1, channel 0: has no route"));
}

TEST(SwitchVerdict, Plans_AreProvedButFoldInAnyOrder) {
  const plan::Plan plan = switch_all_reduce(4);
  const Verdict verdict = verify(plan);
  EXPECT_TRUE(verdict.accepted) << verdict.reason;
  EXPECT_EQ(verdict.fold_order, FoldOrder::kAny);
  plan::Plan messages = plan;
  messages.switch_channels.clear();
  EXPECT_EQ(verify(messages).fold_order, FoldOrder::kInOrderOnce);
}

// ---- certificates ----

Certificate certificate() {
  const Fabric fabric = star(4);
  const plan::Plan plan = switch_all_reduce(4);
  const int32_t hub = *find_node(fabric.graph, "switch");
  return {
      .graph = fabric.graph,
      .plan = plan,
      .placement = placed(plan, fabric),
      .parts = {{fabric.hosts[0], hub}, {fabric.hosts[1]}, {fabric.hosts[2]}, {fabric.hosts[3]}},
      .lengths = {}};
}

TEST(SwitchCertificate, Star_IsFourFifthsOfItsBound) {
  const Certificate made = certificate();
  const CertificateVerdict verdict = check_certificate(made);
  ASSERT_TRUE(verdict.accepted) << verdict.reason;
  EXPECT_EQ(verdict.bound, Rational::of(4, 80'000));  // 2 * 3 * 4 over 6 links
  EXPECT_EQ(verdict.plan, Rational::of(5, 80'000));
  EXPECT_EQ(verdict.busiest.size(), 8u);
  const CertificateVerdict again =
      check_certificate(certificate_from_json(to_json(made), "its own"));
  EXPECT_TRUE(again.accepted) << again.reason;
  EXPECT_EQ(again.plan, verdict.plan);
}

TEST(SwitchCertificate, WhatIsNotSo_IsRefused) {
  Certificate no_loop = certificate();
  for (Route& route : no_loop.placement.routes)
    if (route.source_rank == route.sink_rank) route.hops.clear();
  EXPECT_THAT(check_certificate(no_loop).reason, HasSubstr("expected the rank's own way"));
  Certificate one_less = certificate();
  one_less.plan.ranks[2].lanes[0].steps.push_back(
      testing::step({plan::Operand::peer(0, 1)}, {testing::out(2)}, 2));
  EXPECT_THAT(check_certificate(one_less).reason, HasSubstr("expected sinks to all 3 peers"));
  Certificate no_entry = certificate();
  no_entry.plan.switch_channels.pop_back();
  EXPECT_THAT(check_certificate(no_entry).reason, HasSubstr("the plan has no such connection"));
  // A switch that can't do it makes the plan slower than it says it is.
  Certificate unable = certificate();
  for (topology::Node& node : unable.graph.nodes)
    node.attributes.reduces = node.attributes.multicasts = false;
  EXPECT_EQ(check_certificate(unable).plan, Rational::of(8, 80'000));
}

// ---- time ----

constexpr double kAlpha = 2 * kHopNs;

double time_ns(const plan::Plan& plan, const Fabric& fabric, uint64_t bytes,
               const SimulationParameters& parameters = {}) {
  return simulate(plan, placed(plan, fabric), fabric.graph, bytes, parameters).time_ns;
}

TEST(SwitchTime, TinyMessages_TakeTwoWaysWhateverTheRanks) {
  for (const int32_t n : {2, 4, 8})
    EXPECT_NEAR(time_ns(switch_all_reduce(n), star(n), 1), 2 * kAlpha, 1) << n;
}

TEST(SwitchTime, OneTile_IsUpAndDownOneAfterTheOther) {
  constexpr uint64_t kBytes = 8'000'000;
  for (const int32_t n : {2, 4, 8})
    EXPECT_NEAR(time_ns(switch_all_reduce(n), star(n), kBytes), 2 * (kBytes / kB + kAlpha), 1) << n;
}

TEST(SwitchTime, ManyTiles_ComeNearOneMoreThanTheRanks) {
  constexpr uint64_t kBytes = 80'000'000;
  constexpr int32_t kN = 8;
  plan::Plan plan = switch_all_reduce(kN);
  plan.tiles_in_flight = 8;
  const double limit = kBytes / kB * (kN + 1) / kN;
  const double taken = time_ns(plan, star(kN), kBytes, {.slot_bytes = kBytes / kN / 64});
  EXPECT_GE(taken, limit);
  EXPECT_LE(taken, 1.05 * limit);
}

TEST(SwitchTime, Links_CarryWhatTheTreesSay) {
  constexpr uint64_t kBytes = 4000;
  const plan::Plan plan = switch_all_reduce(4);
  for (const char* able : {"", "leaf", "spine", "none"}) {
    const Fabric fabric = two_levels(able);
    const Placement placement = placed(plan, fabric);
    const auto loads = link_loads(plan, placement, fabric.graph);
    const SimulationResult result = simulate(plan, placement, fabric.graph, kBytes);
    for (size_t i = 0; i < loads.size(); ++i) {
      EXPECT_DOUBLE_EQ(result.links[i].forward.bytes, 1000.0 * loads[i].forward_chunks) << able;
      EXPECT_DOUBLE_EQ(result.links[i].reverse.bytes, 1000.0 * loads[i].reverse_chunks) << able;
    }
  }
}

TEST(SwitchTime, Reduction_WaitsForTheLastContributor) {
  // Rank 2 contributes to chunk 0 only when it has its own sum; the others are ready at once.
  plan::Plan plan = switch_all_reduce(3);
  plan.ranks[2].lanes[1].steps.front().waits.push_back({0, 0});
  const SimulationResult result = simulate(plan, placed(plan, star(3)), star(3).graph, 3);
  EXPECT_NEAR(result.time_ns, 3 * kAlpha, 2);
}

TEST(SwitchTime, WorkOfTheSwitch_IsNotTheLanes) {
  constexpr uint64_t kBytes = 8000;
  const SimulationParameters costs{.message_ns = 100, .reduce_ns_per_byte = 1};
  const plan::Plan plan = switch_all_reduce(4);
  plan::Plan messages = plan;
  messages.switch_channels.clear();
  const double free_ns = time_ns(plan, star(4), kBytes);
  const double one_to_one_ns = time_ns(messages, star(4), kBytes);
  // A message up and one multicast; nothing is added by a lane.
  EXPECT_NEAR(time_ns(plan, star(4), kBytes, costs), free_ns + 200, 1);
  EXPECT_NEAR(time_ns(messages, star(4), kBytes, costs), one_to_one_ns + 100 + 300 + 3 * 2000, 1);
}

}  // namespace
}  // namespace tutti::verify
