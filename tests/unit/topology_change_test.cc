// SPDX-License-Identifier: Apache-2.0
// Fewer GPUs, and links that are down or slow: what a change touches, and what a wrong one is told.
#include <cstdint>
#include <numeric>
#include <string>
#include <vector>

#include "tests/unit/topology_support.h"
#include "topology/change.h"
#include "topology/synthetic.h"

namespace tutti::topology {
namespace {

using ::testing::AllOf;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::SizeIs;

std::vector<std::string> ids(const Graph& graph) {
  std::vector<std::string> result;
  for (const Node& node : graph.nodes) result.push_back(node.id);
  return result;
}

// Each link whose capacity differs, as "from>to forward/reverse" in Mbit/s, by its new values.
std::vector<std::string> differences(const Graph& before, const Graph& after) {
  EXPECT_EQ(before.nodes, after.nodes);
  EXPECT_EQ(before.links.size(), after.links.size());
  std::vector<std::string> result;
  for (size_t i = 0; i < before.links.size(); ++i) {
    const Link& link = after.links[i];
    if (link == before.links[i]) continue;
    result.push_back(after.nodes[link.from].id + ">" + after.nodes[link.to].id + " " +
                     std::to_string(link.forward_mbit_s) + "/" +
                     std::to_string(link.reverse_mbit_s));
  }
  return result;
}

TEST(Changed_EachChange, TouchesItsLinksOnly) {
  struct Case {
    const char* line;
    const char* changes;
    std::vector<std::string> links;
  };
  const Case cases[] = {
      {"dgx-1v", "down gpu0 gpu3", {"gpu0>gpu3 0/0", "gpu0>gpu3 0/0"}},
      {"dgx-1v", "down gpu3 gpu0", {"gpu0>gpu3 0/0", "gpu0>gpu3 0/0"}},
      {"dgx-1v",
       "slow gpu6=10",
       {"gpu2>gpu6 80000/80000", "gpu4>gpu6 80000/80000", "gpu5>gpu6 80000/80000",
        "gpu5>gpu6 80000/80000", "gpu6>gpu7 80000/80000", "gpu6>gpu7 80000/80000"}},
      {"dgx-1v", "slow gpu0 gpu1 = 0.000125", {"gpu0>gpu1 1/1"}},
      {"dgx-1v", "slow gpu0 gpu1=25", {}},
      {"dgx-1v", "one-way gpu0 gpu1=5", {"gpu0>gpu1 40000/200000"}},
      {"dgx-1v", " one-way\tgpu1 gpu0=0 ", {"gpu0>gpu1 200000/0"}},
      {"dgx-1v", "down gpu0 gpu1;down gpu2 gpu6", {"gpu0>gpu1 0/0", "gpu2>gpu6 0/0"}},
      {"dgx-1v", "slow gpu0 gpu1=20, one-way gpu0 gpu1=5", {"gpu0>gpu1 40000/160000"}},
      // A GPU's NVLink is slowed, its slower way to the NIC is not sped up.
      {"dgx-a100", "slow gpu2=100", {"gpu2>nvswitch 800000/800000"}},
      {"dgx-a100 x2", "down box1/nic3", {"box1/gpu3>box1/nic3 0/0", "box1/nic3>rail3 0/0"}},
      {"dgx-a100 x2", "lanes box1/nic3=8/16", {"box1/gpu3>box1/nic3 100000/100000"}},
      {"dgx-a100 x2", "lanes box1/gpu3 box1/nic3=4/16", {"box1/gpu3>box1/nic3 50000/50000"}},
      {"dgx-a100 x2", "down rail3", {"box0/nic3>rail3 0/0", "box1/nic3>rail3 0/0"}},
      {"dgx-a100 x2", "slow rail3 box1=5", {"box1/nic3>rail3 40000/40000"}},
      {"dgx-a100 x2", "one-way rail3 box1=5", {"box1/nic3>rail3 200000/40000"}},
      {"gb200-nvl72",
       "one-way nvswitch tray3=1",
       {"tray3/gpu0>nvswitch 7200000/8000", "tray3/gpu1>nvswitch 7200000/8000",
        "tray3/gpu2>nvswitch 7200000/8000", "tray3/gpu3>nvswitch 7200000/8000"}},
      {"host nics=1 x2 fabric=fat-tree", "down host1 leaf1", {"host1/nic0>leaf1 0/0"}},
      // 12 GB/s over three sixteenths of the lanes.
      {"pcie gpus=2 gen=3", "lanes gpu1=3/16", {"pciswitch0>gpu1 18000/18000"}},
      {"host cores=2 numa=2", "slow numa0 numa1=16", {"numa0>numa1 128000/128000"}},
  };
  for (const Case& c : cases) {
    SCOPED_TRACE(c.changes);
    const Graph graph = synthetic(c.line);
    const Graph after = changed(graph, c.changes);
    EXPECT_EQ(differences(graph, after), c.links);
    EXPECT_NO_THROW(validate(after));
  }
}

TEST(Changed_Machine, StandsForAllWithin) {
  const Graph graph = synthetic("dgx-h100 x2");
  const Graph after = changed(graph, "down box1");
  for (const Link& link : after.links) {
    const bool of_box1 = graph.nodes[link.from].id.starts_with("box1/") ||
                         graph.nodes[link.to].id.starts_with("box1/");
    EXPECT_EQ(link.forward_mbit_s == 0, of_box1);
    EXPECT_EQ(link.reverse_mbit_s == 0, of_box1);
  }
}

TEST(Changed_Lanes, RoundDownAndNeverOverflow) {
  Graph graph = synthetic("pcie gpus=1 per-switch=1");
  ASSERT_THAT(graph.links, SizeIs(2));
  graph.links[1].forward_mbit_s = INT64_MAX;
  graph.links[1].reverse_mbit_s = 7;
  const Link link = changed(graph, "lanes gpu0=8/16").links[1];
  EXPECT_EQ(link.forward_mbit_s, INT64_MAX / 2);
  EXPECT_EQ(link.reverse_mbit_s, 3);
  EXPECT_EQ(changed(graph, "lanes gpu0=16/16"), graph);
}

TEST(Changed_UnknownBandwidth, IsLimitedAndStaysUnknownOtherwise) {
  Graph graph = synthetic("dgx-a100");
  for (Link& link : graph.links) link.forward_mbit_s = kUnknown;
  const Graph after = changed(graph, "slow gpu0 nvswitch=2,lanes nic1=1/2");
  EXPECT_THAT(differences(graph, after),
              ElementsAre("gpu0>nvswitch 16000/16000", "gpu1>nic1 -1/100000"));
}

// Ids that detectors and files make.
TEST(Changed_AnyId, IsFound) {
  Graph graph;
  add_node(graph, "node-7", NodeKind::kMachine, -1);
  add_node(graph, "gpu:0000:11:00.0", NodeKind::kGpu, 0);
  add_node(graph, "rack/a-b=c", NodeKind::kGpu, 0);
  add_node(graph, "x/gpu:0000:11:00.0", NodeKind::kGpu, 0);
  add_link(graph, 1, 2, LinkType::kNvLink, 8000);
  add_link(graph, 2, 3, LinkType::kNvLink, 8000);
  // A whole id comes before the end of another.
  EXPECT_THAT(differences(graph, changed(graph, "down gpu:0000:11:00.0")), SizeIs(1));
  EXPECT_THAT(differences(graph, changed(graph, "slow a-b=c=0.5")), SizeIs(2));
  EXPECT_THAT(differences(graph, changed(graph, "down a-b=c")), SizeIs(2));
  EXPECT_THAT(differences(graph, changed(graph, "one-way rack/a-b=c x/gpu:0000:11:00.0=0.5")),
              ElementsAre("rack/a-b=c>x/gpu:0000:11:00.0 4000/8000"));
}

TEST(Changed_WrongChange, NamesItAndWhatIsAllowed) {
  struct Case {
    const char* line;
    const char* changes;
    const char* word;
    const char* allowed;
  };
  const Case cases[] = {
      {"dgx-1v", "", "\"\"", "down ID or down A B, slow ID=GB/s"},
      {"dgx-1v", "down gpu0 gpu1,", "\"\"", "expected down ID"},
      {"dgx-1v", "up gpu0", "\"up gpu0\"", "lanes ID=N/M"},
      {"dgx-1v", "down gpu0 gpu1, break gpu0", "\"break gpu0\"", "one-way A B=GB/s"},
      {"dgx-1v", "down", "\"down\"", "expected down ID or down A B"},
      {"dgx-1v", "down gpu0 gpu1 gpu2", "\"down gpu0 gpu1 gpu2\"", "expected down ID or down A B"},
      {"dgx-1v", "down gpu0=0", "there is no \"gpu0=0\"", "gpu0, gpu1"},
      {"dgx-1v", "slow gpu0", "\"slow gpu0\"", "expected slow ID=GB/s"},
      {"dgx-1v", "one-way gpu0=1", "\"one-way gpu0=1\"", "expected one-way A B=GB/s"},
      {"dgx-1v", "slow gpu0=-1", "\"slow gpu0=-1\"", "expected GB/s from 0"},
      {"dgx-1v", "slow gpu0=", "\"slow gpu0=\"", "expected GB/s from 0"},
      {"dgx-1v", "slow gpu0=nan", "\"slow gpu0=nan\"", "expected GB/s from 0"},
      {"dgx-1v", "slow gpu0=0.0001", "\"slow gpu0=0.0001\"", "multiple of 0.000125"},
      {"dgx-1v", "slow gpu0=25.5", "\"slow gpu0=25.5\"",
       "the fastest of these links carries, 25 GB"},
      {"dgx-1v", "down gpu0; slow gpu0=1", "\"slow gpu0=1\"", "carries, 0 GB/s"},
      {"dgx-1v", "one-way gpu1 gpu0=30", "\"one-way gpu1 gpu0=30\"", "carries, 25 GB/s"},
      {"dgx-1v", "lanes gpu0=8/16", "\"lanes gpu0=8/16\"", "expected PCIe links"},
      {"dgx-a100", "lanes gpu0=8", "\"lanes gpu0=8\"", "expected lanes N/M"},
      {"dgx-a100", "lanes gpu0=0/16", "\"lanes gpu0=0/16\"", "such as 8/16; got \"0/16\""},
      {"dgx-a100", "lanes gpu0=16/8", "\"lanes gpu0=16/8\"", "expected lanes N/M"},
      {"dgx-a100", "lanes gpu0=8/64", "\"lanes gpu0=8/64\"", "expected lanes N/M"},
      {"dgx-1v", "down gpu8", "there is no \"gpu8\"", "known are gpu0, gpu1, gpu2"},
      {"dgx-1v", "down switch", "there is no \"switch\"", "known are box, gpu0"},
      {"dgx-a100 x2", "down nic9", "there is no \"nic9\"",
       "known are box0/nic0, box0/nic1, box0/nic2, box0/nic3, box0/nic4, box0/nic5, box0/nic6, "
       "box0/nic7 and 8 more"},
      {"dgx-a100 x2", "down nic3", "\"nic3\" may be", "box0/nic3, box1/nic3; name one"},
      {"dgx-1v", "down gpu0 gpu7", "\"gpu0\" and \"gpu7\" have no link",
       "\"gpu0\" has links to gpu1, gpu2, gpu3, gpu4"},
      {"dgx-1v", "down gpu0 gpu0", "\"gpu0\" and \"gpu0\" have no link", "has links to gpu1"},
      {"host", "down numa0", "\"numa0\"", "has no link to any other part"},
  };
  for (const Case& c : cases)
    EXPECT_THAT(refusal([&] { changed(synthetic(c.line), c.changes); }),
                AllOf(HasSubstr("topology change: "), HasSubstr(c.word), HasSubstr(c.allowed)))
        << c.changes;
}

TEST(OnlyGpus_Some, KeepsWhatTheyReach) {
  const std::vector<int32_t> positions = {3, 0};
  const Graph mesh = only_gpus(synthetic("dgx-1v"), positions);
  EXPECT_THAT(ids(mesh), ElementsAre("box", "gpu0", "gpu3"));
  EXPECT_THAT(mesh.links, SizeIs(2));

  const Graph box = only_gpus(synthetic("dgx-a100"), positions);
  EXPECT_THAT(ids(box), ElementsAre("box", "nvswitch", "gpu0", "gpu3", "nic0", "nic3"));
  EXPECT_THAT(box.links, SizeIs(4));

  // A switch and a NIC stay for the one of their two GPUs that does.
  const Graph shared = only_gpus(synthetic("dgx-1v nics=4"), positions);
  EXPECT_THAT(ids(shared),
              ElementsAre("box", "pciswitch0", "gpu0", "pciswitch1", "gpu3", "nic0", "nic1"));
}

TEST(OnlyGpus_OfACluster, DropsBoxesWithoutAny) {
  const std::vector<int32_t> positions = {17, 1, 16};
  // NIC 0 of box 0 can still be reached over its rail.
  const Graph graph = only_gpus(synthetic("dgx-h100 x3"), positions);
  EXPECT_NO_THROW(validate(graph));
  EXPECT_THAT(ids(graph), ElementsAre("cluster", "box0", "box0/nvswitch", "box0/gpu1", "box0/nic0",
                                      "box0/nic1", "box2", "box2/nvswitch", "box2/gpu0",
                                      "box2/gpu1", "box2/nic0", "box2/nic1", "rail0", "rail1"));
  EXPECT_THAT(graph.links, SizeIs(10));

  const Graph rack = only_gpus(synthetic("gb200-nvl72"), positions);
  EXPECT_THAT(ids(rack),
              ElementsAre("box", "nvswitch", "tray0", "tray0/gpu1", "tray0/nic1", "tray4",
                          "tray4/gpu0", "tray4/gpu1", "tray4/nic0", "tray4/nic1"));

  // What CPUs use stays in a machine that has a GPU left, and only there.
  const Graph hosts = only_gpus(synthetic("pcie x2 gpus=4 nics=1"), std::vector<int32_t>{0});
  EXPECT_THAT(ids(hosts), ElementsAre("cluster", "box0", "box0/package0", "box0/numa0",
                                      "box0/package1", "box0/numa1", "box0/pciswitch0",
                                      "box0/pciswitch1", "box0/gpu0", "box0/nic0", "rail0"));
}

// A host that has no GPU in the first place is not taken away, nor are its NICs.
TEST(OnlyGpus_OfAMixedCluster, KeepsHosts) {
  Graph graph;
  add_node(graph, "cluster", NodeKind::kCluster, -1);
  const int32_t host = add_node(graph, "host", NodeKind::kMachine, 0);
  const int32_t host_nic = add_node(graph, "host/nic0", NodeKind::kNic, host);
  const int32_t box = add_node(graph, "box", NodeKind::kMachine, 0);
  const int32_t gpu = add_node(graph, "box/gpu0", NodeKind::kGpu, box);
  const int32_t below = add_node(graph, "box/nic0", NodeKind::kNic, gpu);  // odd, but valid
  const int32_t other = add_node(graph, "box/gpu1", NodeKind::kGpu, box);
  const int32_t network = add_node(graph, "switch0", NodeKind::kNetSwitch, 0);
  add_link(graph, other, below, LinkType::kPcie, 8000);
  add_link(graph, below, network, LinkType::kNetwork, 8000);
  add_link(graph, host_nic, network, LinkType::kNetwork, 8000);
  const Graph after = only_gpus(graph, std::vector<int32_t>{1});
  EXPECT_NO_THROW(validate(after));
  EXPECT_THAT(ids(after), ElementsAre("cluster", "host", "host/nic0", "box", "box/nic0", "box/gpu1",
                                      "switch0"));
  EXPECT_EQ(after.nodes[*find_node(after, "box/nic0")].parent, *find_node(after, "box"));
}

TEST(OnlyGpus_All, ChangeNothing) {
  for (const char* line :
       {"dgx-1v nics=4", "dgx-h100 x3 fabric=rail-spine", "gb200-nvl72", "pcie"}) {
    const Graph graph = synthetic(line);
    std::vector<int32_t> positions(nodes_of_kind(graph, NodeKind::kGpu).size());
    std::iota(positions.begin(), positions.end(), 0);
    EXPECT_EQ(only_gpus(graph, positions), graph) << line;
  }
}

TEST(OnlyGpus_WrongPositions, AreNamed) {
  struct Case {
    const char* line;
    std::vector<int32_t> positions;
    const char* message;
  };
  const Case cases[] = {
      {"dgx-1v", {}, "expected at least one of the 8 GPUs"},
      {"dgx-1v", {0, 8}, "expected positions from 0 to 7, got 8"},
      {"dgx-1v", {-1}, "expected positions from 0 to 7, got -1"},
      {"dgx-1v", {3, 1, 3}, "3 is given twice"},
      {"host", {0}, "got 0; there are no GPUs"},
  };
  for (const Case& c : cases)
    EXPECT_THAT(refusal([&] { only_gpus(synthetic(c.line), c.positions); }), HasSubstr(c.message));
}

// docs/howto/describe-a-topology.md lists changes.
TEST(HowTo_Changes, Apply) {
  const std::string page = fixture("../../../docs/howto/describe-a-topology.md");
  const Graph graph = synthetic("dgx-1v nics=4");
  size_t changes = 0;
  for (size_t at = page.find("\n| `", page.find("| Change |")); at != std::string::npos;
       at = page.find("\n| `", at + 1)) {
    const size_t first = at + 4;
    EXPECT_NO_THROW(changed(graph, page.substr(first, page.find('`', first) - first)));
    ++changes;
  }
  EXPECT_EQ(changes, 6U);
}

}  // namespace
}  // namespace tutti::topology
