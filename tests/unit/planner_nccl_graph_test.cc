// SPDX-License-Identifier: Apache-2.0
// NCCL's graph XML: rings and trees over boxes, the NICs that they pass, and what is refused where.
#include <algorithm>
#include <numeric>
#include <set>
#include <string>
#include <vector>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "src/base/error.h"
#include "src/planner/import/nccl_graph.h"
#include "src/planner/import/nccl_tree.h"
#include "src/verify/verifier.h"
#include "tests/support/plan_interpreter.h"
#include "topology/synthetic.h"

namespace tutti::planner {
namespace {

using plan::Collective;
using ::testing::AllOf;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::StartsWith;
using Order = std::vector<int>;

constexpr Collective kThree[] = {Collective::kAllReduce, Collective::kAllGather,
                                 Collective::kReduceScatter};

// A channel's devices: GPUs in their order between NICs, -1 for none.
std::string channel(const Order& gpus, int enter = -1, int leave = -1) {
  const auto net = [](int dev) {
    return dev < 0 ? std::string() : "<net dev=\"" + std::to_string(dev) + "\"/>\n";
  };
  std::string text = "<channel>\n" + net(enter);
  for (const int gpu : gpus) text += "<gpu dev=\"" + std::to_string(gpu) + "\"/>\n";
  return text + net(leave) + "</channel>\n";
}

std::string graph(int id, int pattern, const std::vector<std::string>& channels,
                  const std::string& more = "") {
  std::string text = "<graph id=\"" + std::to_string(id) + "\" pattern=\"" +
                     std::to_string(pattern) + "\" nchannels=\"" + std::to_string(channels.size()) +
                     "\" " + more + ">\n";
  for (const std::string& one : channels) text += one;
  return text + "</graph>\n";
}

std::string file(const std::vector<std::string>& graphs) {
  std::string text = "<graphs version=\"1\">\n";
  for (const std::string& one : graphs) text += one;
  return text + "</graphs>\n";
}

NcclGraphPlans import(const std::string& text, const topology::Graph& graph,
                      Collective collective = Collective::kAllReduce) {
  return plans_from_nccl_graph(text, "graph.xml", graph, collective);
}

void expect_right(const PlacedPlan& placed, const topology::Graph& graph) {
  verify::check_placement(placed.plan, placed.placement, graph);
  const verify::Verdict verdict = verify::verify(placed.plan);
  ASSERT_TRUE(verdict.accepted) << verdict.reason;
  for (const bool in_place : {false, true})
    EXPECT_EQ(test::interpret(placed.plan,
                              {.slots = verdict.min_slots, .tiles = 2, .in_place = in_place}),
              "");
}

// "0>3>2>1": where the channel's messages go, from rank 0 on.
std::string ring_text(const plan::Plan& plan, int channel) {
  std::string text = "0";
  int32_t at = 0;
  do {
    int32_t next = -1;
    for (const plan::Lane& lane : plan.ranks[static_cast<size_t>(at)].lanes)
      for (const plan::Step& step : lane.steps)
        for (const plan::Operand& sink : step.sinks)
          if (sink.kind == plan::Operand::Kind::kPeer && sink.channel == channel) next = sink.index;
    text += ">" + std::to_string(next);
    at = next;
  } while (at > 0);
  return text;
}

// Ids of the NICs that a connection passes.
std::vector<std::string> nics(const PlacedPlan& placed, const topology::Graph& graph,
                              int32_t source, int32_t sink, int32_t channel) {
  std::vector<std::string> ids;
  for (const verify::Route& route : placed.placement.routes) {
    if (route.source_rank != source || route.sink_rank != sink || route.channel != channel)
      continue;
    for (const verify::Hop& hop : route.hops) {
      const topology::Link& link = graph.links[static_cast<size_t>(hop.link)];
      const topology::Node& node =
          graph.nodes[static_cast<size_t>(hop.reverse ? link.from : link.to)];
      if (node.kind == topology::NodeKind::kNic) ids.push_back(node.id);
    }
  }
  return ids;
}

Order counting(int n) {
  Order order(static_cast<size_t>(n));
  std::iota(order.begin(), order.end(), 0);
  return order;
}

// ---- rings ----

TEST(NcclGraph, RingOfEight_IsThePlanOfEveryCollective) {
  const topology::Graph box = topology::synthetic("dgx-a100");
  const std::string text = file({graph(0, 4, {channel({0, 3, 2, 1, 5, 6, 7, 4})})});
  for (const Collective collective : kThree) {
    const NcclGraphPlans read = import(text, box, collective);
    ASSERT_EQ(read.plans.size(), 1u);
    const plan::Plan& plan = read.plans[0].plan;
    expect_right(read.plans[0], box);
    EXPECT_EQ(plan.algorithm, "nccl_ring");
    EXPECT_EQ(ring_text(plan, 0), "0>3>2>1>5>6>7>4>0");
    EXPECT_EQ(plan.shape.chunks_per_block, collective == Collective::kAllReduce ? 8 : 1);
    EXPECT_THAT(read.notes, ElementsAre());
  }
}

TEST(NcclGraph, TwoBoxesWithTwoChannels_PassTheNamedNics) {
  const topology::Graph boxes = topology::synthetic("dgx-a100 x2");
  const std::string text =
      file({graph(0, 4, {channel(counting(8), 0, 0), channel({7, 6, 5, 4, 3, 2, 1, 0}, 3, 3)})});
  for (const Collective collective : kThree) {
    const NcclGraphPlans read = import(text, boxes, collective);
    ASSERT_EQ(read.plans.size(), 1u);
    const PlacedPlan& ring = read.plans[0];
    expect_right(ring, boxes);
    EXPECT_EQ(ring.plan.channels, 2);
    EXPECT_EQ(ring_text(ring.plan, 0), "0>1>2>3>4>5>6>7>8>9>10>11>12>13>14>15>0");
    EXPECT_EQ(ring_text(ring.plan, 1), "0>15>14>13>12>11>10>9>8>7>6>5>4>3>2>1>0");
    EXPECT_THAT(nics(ring, boxes, 7, 8, 0), ElementsAre("box0/nic0", "box1/nic0"));
    EXPECT_THAT(nics(ring, boxes, 15, 0, 0), ElementsAre("box1/nic0", "box0/nic0"));
    EXPECT_THAT(nics(ring, boxes, 0, 15, 1), ElementsAre("box0/nic3", "box1/nic3"));
    EXPECT_THAT(nics(ring, boxes, 0, 1, 0), ElementsAre());
  }
}

TEST(NcclGraph, CrossNic_LeavesByTheLastNicAndEntersByTheFirst) {
  const topology::Graph boxes = topology::synthetic("dgx-a100 x2 fabric=fat-tree");
  const NcclGraphPlans read =
      import(file({graph(0, 4, {channel(counting(8), 1, 6)}, "crossnic=\"1\"")}), boxes);
  expect_right(read.plans[0], boxes);
  EXPECT_THAT(nics(read.plans[0], boxes, 7, 8, 0), ElementsAre("box0/nic6", "box1/nic1"));
}

// So that a ring stays on its rail: what leaves by NIC 1 enters by NIC 1, although no box does both
// with one channel.
TEST(NcclGraph, CrossNicTwo_SwapsTheChannelsOfEveryOtherBox) {
  const topology::Graph boxes = topology::synthetic("dgx-a100 x2");
  const std::string text =
      file({graph(0, 4, {channel(counting(8), 0, 1), channel({7, 6, 5, 4, 3, 2, 1, 0}, 1, 0)},
                  "crossnic=\"2\"")});
  const NcclGraphPlans read = import(text, boxes);
  expect_right(read.plans[0], boxes);
  EXPECT_THAT(nics(read.plans[0], boxes, 7, 15, 0), ElementsAre("box0/nic1", "box1/nic1"));
  EXPECT_THAT(nics(read.plans[0], boxes, 8, 0, 0), ElementsAre("box1/nic0", "box0/nic0"));
}

// A topology of one box may well leave them out.
TEST(NcclGraph, NicsOfTheOnlyBox_AreNotLookedFor) {
  const topology::Graph box = topology::synthetic("dgx-1v");
  const std::string ring = channel({0, 3, 2, 1, 5, 6, 7, 4}, 0, 0);
  const NcclGraphPlans read = import(file({graph(0, 4, {ring}), graph(1, 1, {ring})}), box);
  ASSERT_EQ(read.plans.size(), 2u);
  for (const PlacedPlan& placed : read.plans) expect_right(placed, box);
}

TEST(NcclGraph, OneGpu_CopiesItsData) {
  const topology::Graph box = topology::synthetic("pcie gpus=1");
  for (const Collective collective : kThree)
    expect_right(import(file({graph(0, 4, {channel({0})})}), box, collective).plans[0], box);
}

TEST(NcclGraph, Ranks_AreOfTheBoxInTheirOrder) {
  const topology::Graph box = topology::synthetic("dgx-a100");
  std::string gpus;
  for (const int rank : {16, 19, 18, 17, 21, 20, 23, 22})
    gpus += "<gpu dev=\"0\" rank=\"" + std::to_string(rank) + "\"/>";
  const NcclGraphPlans read = import(file({graph(0, 4, {"<channel>" + gpus + "</channel>"})}), box);
  EXPECT_EQ(ring_text(read.plans[0].plan, 0), "0>3>2>1>5>4>7>6>0");
}

// An NVLink domain of many hosts: the upper byte of a device is its host.
TEST(NcclGraph, DevicesOfSeveralHosts_CountThroughTheRack) {
  const topology::Graph rack = topology::synthetic("gb200-nvl72");
  std::string gpus;
  for (int i = 71; i >= 0; --i) {
    const uint64_t dev = (static_cast<uint64_t>(i / 4) << 56) + static_cast<uint64_t>(i % 4);
    char text[64];
    std::snprintf(text, sizeof text, "<gpu dev=\"0x%llx\"/>", static_cast<unsigned long long>(dev));
    gpus += text;
  }
  const NcclGraphPlans read = import(file({graph(0, 4, {"<channel>" + gpus + "</channel>"})}), rack,
                                     Collective::kAllGather);
  EXPECT_THAT(ring_text(read.plans[0].plan, 0), StartsWith("0>71>70>69>"));
  EXPECT_TRUE(verify::verify(read.plans[0].plan).accepted);
}

// ---- trees ----

TEST(NcclGraph, TreeOfOneBox_IsAChain) {
  const topology::Graph box = topology::synthetic("dgx-a100");
  const NcclGraphPlans read = import(file({graph(1, 1, {channel({2, 1, 0, 3, 4, 5, 6, 7})})}), box);
  ASSERT_EQ(read.plans.size(), 1u);
  expect_right(read.plans[0], box);
  EXPECT_EQ(read.plans[0].plan.algorithm, "nccl_tree");
  EXPECT_EQ(read.plans[0].plan.channels, 1);
  const std::vector<plan::Step>& root = read.plans[0].plan.ranks[2].lanes[0].steps;
  EXPECT_TRUE(root[0].post);
  EXPECT_EQ(root[0].sinks,
            (std::vector{plan::Operand::chunk(plan::Buffer::kOutput, 0), plan::Operand::peer(1)}));
}

TEST(NcclGraph, TreesOverBoxes_AreTwoForEachChannel) {
  for (const char* line : {"dgx-a100 x2", "dgx-a100 x3", "dgx-a100 x4"}) {
    const topology::Graph boxes = topology::synthetic(line);
    for (const int pattern : {1, 2, 3}) {
      const NcclGraphPlans read = import(
          file({graph(1, pattern,
                      {channel(counting(8), 0, 0), channel({4, 5, 6, 7, 3, 2, 1, 0}, 4, 4)})}),
          boxes);
      expect_right(read.plans[0], boxes);
      EXPECT_EQ(read.plans[0].plan.shape.chunks_per_block, 4);
    }
  }
}

// Ranks of a box are consecutive, two to a box; NICs 0 and 1.
nccl::Tree tree_over(int32_t boxes, const nccl::TreeKind& kind) {
  std::vector<nccl::PlacedChannel> parts;
  for (int32_t b = 0; b < boxes; ++b)
    parts.push_back({{2 * b, 2 * b + 1}, {100 + 2 * b, 101 + 2 * b}});
  return nccl::tree_of(parts, kind, 2 * boxes, 0);
}

// Parents by box; every box's second GPU hangs from its first.
std::vector<int32_t> parent_boxes(const nccl::Tree& tree) {
  std::vector<int32_t> parents;
  for (size_t rank = 0; rank < tree.seats.size(); rank += 2) {
    parents.push_back(tree.seats[rank].parent < 0 ? -1 : tree.seats[rank].parent / 2);
    EXPECT_EQ(tree.seats[rank + 1].parent, static_cast<int32_t>(rank));
  }
  return parents;
}

TEST(NcclTree, Boxes_AlternateAsLeavesAndInnerNodes) {
  const auto parents = [](int32_t boxes, bool second) {
    return parent_boxes(tree_over(boxes, {1, second}));
  };
  EXPECT_THAT(parents(2, false), ElementsAre(-1, 0));
  EXPECT_THAT(parents(2, true), ElementsAre(1, -1));
  EXPECT_THAT(parents(8, false), ElementsAre(-1, 2, 4, 2, 0, 6, 4, 6));
  EXPECT_THAT(parents(8, true), ElementsAre(1, 3, 1, 7, 5, 3, 5, -1));
  EXPECT_THAT(parents(6, false), ElementsAre(-1, 2, 4, 2, 0, 4));
  EXPECT_THAT(parents(5, false), ElementsAre(-1, 2, 4, 2, 0));
  EXPECT_THAT(parents(5, true), ElementsAre(1, -1, 3, 0, 3));
}

TEST(NcclTree, Pattern_SaysWhichGpuTalksToChildren) {
  // Box 2 of 4 has box 1 below and box 3 above it.
  const auto children = [](int pattern, int32_t rank) {
    return tree_over(4, {pattern, false}).seats[static_cast<size_t>(rank)].children;
  };
  EXPECT_THAT(children(1, 4), ElementsAre(5, 6));  // balanced: the lower child at the second GPU
  EXPECT_THAT(children(1, 5), ElementsAre(2));
  EXPECT_THAT(children(2, 4), ElementsAre(5));  // split
  EXPECT_THAT(children(2, 5), ElementsAre(2, 6));
  EXPECT_THAT(children(3, 4), ElementsAre(2, 5, 6));  // all at the first
  EXPECT_THAT(children(3, 5), ElementsAre());
}

TEST(NcclTree, Detours_GoByTheNicOfTheGpu) {
  const nccl::Tree tree = tree_over(2, {2, false});
  ASSERT_EQ(tree.detours.size(), 2u);
  EXPECT_EQ(tree.detours[0].source_rank, 2);
  EXPECT_EQ(tree.detours[0].sink_rank, 1);
  EXPECT_THAT(tree.detours[0].through, ElementsAre(102, 101));
  EXPECT_THAT(tree.detours[1].through, ElementsAre(101, 102));
}

// ---- what is left out and what is refused ----

TEST(NcclGraph, GraphsThatNeedSwitches_AreLeftOutWithANote) {
  const topology::Graph box = topology::synthetic("dgx-a100");
  const std::string ring = graph(0, 4, {channel(counting(8))});
  const NcclGraphPlans read =
      import(file({ring, graph(1, 1, {channel(counting(8))}), graph(2, 3, {}), graph(3, 5, {}),
                   graph(4, 6, {}), graph(9, 1, {})}),
             box, Collective::kAllGather);
  EXPECT_EQ(read.plans.size(), 1u);
  std::vector<std::string> notes;
  for (const topology::Note& note : read.notes) notes.push_back(note.text);
  EXPECT_THAT(notes,
              ElementsAre(HasSubstr("graph 1: NCCL's trees serve all_reduce alone"),
                          HasSubstr("graph 2 (CollNet chain)"), HasSubstr("graph 3 (NVLS)"),
                          HasSubstr("graph 4 (CollNet direct)"), HasSubstr("graph 9: it is none")));
}

struct Fault {
  const char* name;
  std::string text;
  const char* topology;
  const char* what;
};

TEST(NcclGraph, Faults_AreNamedWithFileLineAndReason) {
  const std::string eight = channel(counting(8));
  const Fault table[] = {
      {"no XML", "graphs", "dgx-a100", "graph.xml:1: not XML"},
      {"other root", "<system/>", "dgx-a100", "expected an element <graphs>"},
      {"no graph", "<graphs>\n</graphs>", "dgx-a100", "graph.xml:1: expected elements <graph>"},
      {"no id", "<graphs>\n<graph/></graphs>", "dgx-a100", "graph.xml:2: <graph> id: expected"},
      {"twice", file({graph(0, 4, {eight}), graph(0, 4, {eight})}), "dgx-a100", "got 0 twice"},
      {"channels missing",
       file({"<graph id=\"0\" pattern=\"4\" nchannels=\"2\">" + eight + "</graph>"}), "dgx-a100",
       "<graph> nchannels: expected the number of its channels, 1, got 2"},
      {"no GPUs", file({graph(0, 4, {"<channel/>"})}), "dgx-a100", "<channel>: expected 1 to"},
      {"three NICs",
       file({graph(0, 4,
                   {"<channel><net dev=\"0\"/><net dev=\"0\"/><net dev=\"0\"/><gpu "
                    "dev=\"0\"/></channel>"})}),
       "dgx-a100", "at most 2 elements <net>"},
      {"GPU without number", file({graph(0, 4, {"<channel>\n<gpu/></channel>"})}), "dgx-a100",
       "graph.xml:4: <gpu> dev: expected a hexadecimal number, got no"},
      {"GPU is text", file({graph(0, 4, {"<channel>\n<gpu dev=\"x\"/></channel>"})}), "dgx-a100",
       "graph.xml:4: <gpu> dev: expected a hexadecimal number, got \"x\""},
      {"uneven channels", file({graph(0, 4, {eight, channel({0, 1})})}), "dgx-a100",
       "expected 8 elements <gpu> as in the first channel, got 2"},
      {"GPU twice", file({graph(0, 4, {channel({0, 1, 2, 3, 3, 5, 6, 7})})}), "dgx-a100",
       "graph.xml:8: <gpu>: expected each GPU once"},
      {"no such GPU", file({graph(0, 4, {channel({0, 1, 2, 3, 4, 5, 6, 8})})}), "dgx-a100",
       "graph.xml:11: <gpu> dev: expected one device"},
      {"no such NIC", file({graph(0, 4, {channel(counting(8), 9, 9)})}), "dgx-a100 x2",
       "graph.xml:4: <net> dev: expected one device of box0 with the number 9, the topology has 0"},
      {"other box", file({graph(0, 4, {channel({0, 1, 2, 3})})}), "dgx-a100 x2",
       "graph.xml:3: <channel>: expected as many GPUs as each machine of the topology has, 8, 8, "
       "got 4"},
      {"no GPUs there", file({graph(0, 4, {eight})}), "host cores=2", "has, none, got 8"},
      {"nothing to do", file({graph(0, 4, {}), graph(3, 5, {})}), "dgx-a100",
       "nothing in it serves all_reduce: graph 0: it has no channels; graph 3 (NVLS)"},
  };
  for (const Fault& fault : table) {
    try {
      import(fault.text, topology::synthetic(fault.topology));
      ADD_FAILURE() << fault.name << ": accepted";
    } catch (const Error& error) {
      EXPECT_EQ(error.code(), StatusCode::kInvalidArgument);
      EXPECT_THAT(error.what(), AllOf(StartsWith("graph.xml:"), HasSubstr(fault.what)))
          << fault.name;
    }
  }
}

TEST(NcclGraph, OtherCollectives_AreRefused) {
  const topology::Graph box = topology::synthetic("dgx-a100");
  EXPECT_THROW(import(file({graph(0, 4, {channel(counting(8))})}), box, Collective::kBroadcast),
               Error);
}

TEST(NcclGraph, Text_IsRecognisedByItsRoot) {
  EXPECT_TRUE(is_nccl_graph("<graphs version=\"1\">"));
  EXPECT_TRUE(is_nccl_graph("<?xml version=\"1.0\"?>\n<!-- a > b -->\n <graphs>"));
  EXPECT_FALSE(is_nccl_graph("<graphsx>"));
  EXPECT_FALSE(is_nccl_graph("<algo/>"));
  EXPECT_FALSE(is_nccl_graph("<!-- <graphs>"));
  EXPECT_FALSE(is_nccl_graph(""));
}

}  // namespace
}  // namespace tutti::planner
