// SPDX-License-Identifier: Apache-2.0
// Routes by shortest paths: what they prefer, what they avoid, how they spread.
#include <algorithm>
#include <chrono>
#include <functional>
#include <map>
#include <set>
#include <string>
#include <vector>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "src/planner/planner.h"
#include "src/verify/routes.h"
#include "tests/support/fabric.h"
#include "tests/support/hand_plans.h"
#include "tests/support/refusal.h"
#include "topology/synthetic.h"

namespace tutti::verify {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;
using topology::add_link;
using topology::add_node;
using topology::Graph;
using topology::kMbitPerGigabyte;
using topology::LinkType;
using topology::NodeKind;
using tutti::testing::refusal;

// Rank 0 sends one message to the last rank on each channel.
plan::Plan one_way(int32_t n_ranks, int32_t channels = 1) {
  plan::Plan plan = testing::empty_plan(plan::Collective::kBroadcast, n_ranks, channels);
  plan.channels = channels;
  for (int32_t c = 0; c < channels; ++c) {
    testing::lane(plan, 0).push_back(
        testing::step({plan::Operand::peer(n_ranks - 1, c)}, {testing::in(c)}, c));
    testing::lane(plan, n_ranks - 1)
        .push_back(testing::step({testing::out(c)}, {plan::Operand::peer(0, c)}, c));
  }
  return plan;
}

plan::Plan planned(plan::Collective collective, const char* algorithm, int32_t n_ranks,
                   int32_t channels = 1) {
  return planner::find_algorithm(collective, algorithm)
      ->build({.collective = collective, .n_ranks = n_ranks, .channels = channels});
}

// The ids of the nodes of a route after its first.
std::vector<std::string> way(const Graph& graph, const Route& route) {
  std::vector<std::string> ids;
  for (const Hop& hop : route.hops) {
    const topology::Link& link = graph.links[hop.link];
    ids.push_back(graph.nodes[hop.reverse ? link.from : link.to].id);
  }
  return ids;
}

// Two GPUs under a PCIe switch, to which a row adds what else there is.
struct Box {
  Graph graph;
  int32_t machine = add_node(graph, "m", NodeKind::kMachine, -1);
  int32_t a = add_node(graph, "a", NodeKind::kGpu, machine);
  int32_t b = add_node(graph, "b", NodeKind::kGpu, machine);

  int32_t node(const char* id, NodeKind kind) { return add_node(graph, id, kind, machine); }
  void link(int32_t from, int32_t to, LinkType type, int64_t gigabytes) {
    add_link(graph, from, to, type, gigabytes * kMbitPerGigabyte);
  }
};

TEST(ShortestPaths_OneMachine, PreferTheFewestGpusThenHopsThenWidth) {
  struct Row {
    const char* name;
    std::function<void(Box&)> build;
    std::vector<std::string> expected;
  };
  const Row rows[] = {
      {"direct link before a switch",
       [](Box& box) {
         const int32_t pcie = box.node("pcie", NodeKind::kPciSwitch);
         box.link(box.a, pcie, LinkType::kPcie, 100);
         box.link(box.b, pcie, LinkType::kPcie, 100);
         box.link(box.a, box.b, LinkType::kXgmi, 50);
       },
       {"b"}},
      {"wide switch before narrow one",
       [](Box& box) {
         const int32_t pcie = box.node("pcie", NodeKind::kPciSwitch);
         const int32_t nvswitch = box.node("nvswitch", NodeKind::kNvSwitch);
         for (const int32_t gpu : {box.a, box.b}) {
           box.link(gpu, pcie, LinkType::kPcie, 64);
           box.link(gpu, nvswitch, LinkType::kNvLink, 450);
         }
       },
       {"nvswitch", "b"}},
      {"the narrowest hop counts",
       [](Box& box) {
         const int32_t p = box.node("p", NodeKind::kPciSwitch);
         const int32_t q = box.node("q", NodeKind::kPciSwitch);
         box.link(box.a, p, LinkType::kPcie, 900);
         box.link(p, box.b, LinkType::kPcie, 10);
         box.link(box.a, q, LinkType::kPcie, 20);
         box.link(q, box.b, LinkType::kPcie, 20);
       },
       {"q", "b"}},
      {"a known width before an unknown one",
       [](Box& box) {
         const int32_t p = box.node("p", NodeKind::kPciSwitch);
         const int32_t q = box.node("q", NodeKind::kPciSwitch);
         add_link(box.graph, box.a, p, LinkType::kPcie);
         add_link(box.graph, p, box.b, LinkType::kPcie);
         box.link(box.a, q, LinkType::kPcie, 1);
         box.link(q, box.b, LinkType::kPcie, 1);
       },
       {"q", "b"}},
      {"a long way around another GPU",
       [](Box& box) {
         const int32_t c = box.node("c", NodeKind::kGpu);
         box.link(box.a, c, LinkType::kNvLink, 100);
         box.link(c, box.b, LinkType::kNvLink, 100);
         int32_t at = box.a;
         for (const char* id : {"p", "q", "r"}) {
           const int32_t next = box.node(id, NodeKind::kPciSwitch);
           box.link(at, next, LinkType::kPcie, 10);
           at = next;
         }
         box.link(at, box.b, LinkType::kPcie, 10);
       },
       {"p", "q", "r", "b"}},
      {"through another GPU where there is no other way",
       [](Box& box) {
         const int32_t c = box.node("c", NodeKind::kGpu);
         box.link(box.a, c, LinkType::kNvLink, 100);
         box.link(c, box.b, LinkType::kNvLink, 100);
       },
       {"c", "b"}},
      {"around what is down that way",
       [](Box& box) {
         box.link(box.b, box.a, LinkType::kNvLink, 100);
         box.graph.links.back().reverse_mbit_s = 0;
         const int32_t p = box.node("p", NodeKind::kPciSwitch);
         box.link(box.a, p, LinkType::kPcie, 10);
         box.link(p, box.b, LinkType::kPcie, 10);
       },
       {"p", "b"}},
  };
  for (const Row& row : rows) {
    Box box;
    row.build(box);
    topology::validate(box.graph);
    const Placement placement = place_by_shortest_paths(one_way(2), box.graph, {box.a, box.b});
    ASSERT_EQ(placement.routes.size(), 1U);
    EXPECT_EQ(way(box.graph, placement.routes[0]), row.expected) << row.name;
  }
}

TEST(ShortestPaths_OneNode, HaveNoHops) {
  const testing::Fabric fabric = testing::star(1, 1000, 0);
  const Placement placement =
      place_by_shortest_paths(one_way(2), fabric.graph, {fabric.hosts[0], fabric.hosts[0]});
  ASSERT_EQ(placement.routes.size(), 1U);
  EXPECT_TRUE(placement.routes[0].hops.empty());
}

TEST(ShortestPaths_ParallelLinks, AreDealtToChannels) {
  Box box;
  for (int i = 0; i < 3; ++i) box.link(box.a, box.b, LinkType::kNvLink, 25);
  const Placement placement = place_by_shortest_paths(one_way(2, 6), box.graph, {box.a, box.b});
  std::map<int32_t, int> uses;
  for (const Route& route : placement.routes) ++uses[route.hops.at(0).link];
  EXPECT_EQ(uses, (std::map<int32_t, int>{{0, 2}, {1, 2}, {2, 2}}));
}

// With as many spines as hosts of a leaf, a shift of all ranks by any distance meets on no link.
TEST(ShortestPaths_FatTree, ShiftsMeetOnNoLink) {
  const testing::Fabric fabric = testing::fat_tree(
      {.leaves = 4, .hosts_per_leaf = 4, .spines = 4, .host_mbit_s = 1000, .uplink_mbit_s = 1000});
  const Placement placement = place_by_shortest_paths(
      planned(plan::Collective::kAllToAll, "pairwise", 16), fabric.graph, fabric.hosts);
  for (int32_t shift = 1; shift < 16; ++shift) {
    std::set<std::pair<int32_t, bool>> used;
    for (const Route& route : placement.routes) {
      if ((route.source_rank + shift) % 16 != route.sink_rank) continue;
      for (const Hop& hop : route.hops)
        EXPECT_TRUE(used.emplace(hop.link, hop.reverse).second) << "shift " << shift;
    }
  }
}

TEST(ShortestPaths_CubeMesh, CrossOneGpuWhereNoLinkLeads) {
  const Graph graph = topology::synthetic("dgx-1v");
  const Placement placement =
      place_by_shortest_paths(planned(plan::Collective::kAllToAll, "pairwise", 8), graph,
                              topology::nodes_of_kind(graph, NodeKind::kGpu));
  std::map<size_t, int> by_hops;
  for (const Route& route : placement.routes) ++by_hops[route.hops.size()];
  EXPECT_EQ(by_hops, (std::map<size_t, int>{{1, 32}, {2, 24}}));
}

TEST(ShortestPaths_RailBoxes, StayInTheBoxOrOnTheRail) {
  const Graph graph = topology::synthetic("dgx-h100 x2");
  const Placement placement =
      place_by_shortest_paths(planned(plan::Collective::kAllReduce, "ring", 16), graph,
                              topology::nodes_of_kind(graph, NodeKind::kGpu));
  const auto to_next = [&](int32_t rank) {
    return way(graph, *std::ranges::find(placement.routes, rank, &Route::source_rank));
  };
  EXPECT_THAT(to_next(0), ElementsAre(HasSubstr("nvswitch"), HasSubstr("gpu1")));
  // From GPU 7 of the first box to GPU 0 of the second there is no way without a further GPU.
  EXPECT_EQ(to_next(7).size(), 6U);
}

TEST(ShortestPaths_Routes_AreInOrderAndFit, ForEveryCollective) {
  const Graph graph = topology::synthetic("dgx-a100 x2 fabric=flat");
  const auto gpus = topology::nodes_of_kind(graph, NodeKind::kGpu);
  for (const planner::AlgorithmRow& row : planner::algorithm_table()) {
    const planner::PlanRequest request{.collective = row.collective, .n_ranks = 16, .channels = 2};
    if (!row.supports(request)) continue;  // rows for several hosts
    const plan::Plan plan = row.build(request);
    const Placement placement = place_by_shortest_paths(plan, graph, gpus);
    EXPECT_NO_THROW(check_placement(plan, placement, graph)) << row.name;
    EXPECT_EQ(placement, place_by_shortest_paths(plan, graph, gpus));
  }
}

TEST(ShortestPaths_BadArguments, AreNamed) {
  testing::Fabric fabric = testing::star(3, 1000, 0);
  const auto place = [&](std::vector<int32_t> nodes) {
    return refusal([&] { place_by_shortest_paths(one_way(3), fabric.graph, nodes); });
  };
  EXPECT_THAT(place({2, 3}), HasSubstr("expected a node for each of 3 ranks, got 2"));
  EXPECT_THAT(place({2, 3, 5}), HasSubstr("rank 2: expected a node from 0 to 4, got 5"));
  fabric.graph.links[2].reverse_mbit_s = 0;
  EXPECT_THAT(place(fabric.hosts),
              HasSubstr("there is no way from rank 0 (host0) to rank 2 (host2)"));
}

TEST(ShortestPaths_Detours, PassTheirNodesInOrder) {
  Box box;
  const int32_t p = box.node("p", NodeKind::kPciSwitch);
  const int32_t q = box.node("q", NodeKind::kPciSwitch);
  for (const int32_t from : {box.a, p})
    for (const int32_t to : {q, box.b}) box.link(from, to, LinkType::kPcie, 10);
  const auto place = [&](const std::vector<Detour>& detours) {
    return place_by_shortest_paths(one_way(2, 2), box.graph, {box.a, box.b}, detours);
  };
  // Channel 0 only, and none of another connection.
  const Placement placement = place({{0, 1, 0, {q, p}}, {1, 0, 1, {q}}});
  EXPECT_THAT(way(box.graph, placement.routes[0]), ElementsAre("q", "p", "b"));
  EXPECT_THAT(way(box.graph, placement.routes[1]), ElementsAre("b"));
  EXPECT_THAT(refusal([&] {
                place({{0, 1, 0, {p, 99}}});
              }),
              HasSubstr("detour: expected a node from 0 to 4, got 99"));
  const int32_t alone = box.node("alone", NodeKind::kNic);
  EXPECT_THAT(refusal([&] { place({{0, 1, 1, {alone}}}); }), HasSubstr(": none from a to alone"));
}

TEST(ShortestPaths_ThousandGpus, TakeSeconds) {
  const Graph graph = topology::synthetic("dgx-h100 x128");
  const plan::Plan plan = planned(plan::Collective::kAllReduce, "recursive_doubling", 1024);
  const auto begin = std::chrono::steady_clock::now();
  const Placement placement =
      place_by_shortest_paths(plan, graph, topology::nodes_of_kind(graph, NodeKind::kGpu));
  EXPECT_EQ(placement.routes.size(), 1024U * 10);
  EXPECT_LT(std::chrono::steady_clock::now() - begin, std::chrono::seconds(20));
}

}  // namespace
}  // namespace tutti::verify
