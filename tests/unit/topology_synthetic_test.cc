// SPDX-License-Identifier: Apache-2.0
// Machines from one line: what they hold, and what a wrong line is told.
#include <algorithm>
#include <array>
#include <bit>
#include <cmath>
#include <cstdint>
#include <map>
#include <string>
#include <vector>

#include "tests/unit/topology_support.h"
#include "topology/formats/native_json.h"
#include "topology/formats/tree_text.h"
#include "topology/merge.h"
#include "topology/synthetic.h"

namespace tutti::topology {
namespace {

using ::testing::AllOf;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::SizeIs;

struct Shape {
  const char* line;
  size_t machines, numas, cores, gpus, nics, net_switches, links;
};

TEST(Synthetic_ValidLines, HaveTheRightParts) {
  const Shape shapes[] = {
      {"host", 1, 1, 1, 0, 0, 0, 0},
      {"host cores=8 numa=2", 1, 2, 8, 0, 0, 0, 1},
      {"  host   numa=4 cores=7  memory=64G ", 1, 4, 7, 0, 0, 0, 6},
      {"host cores=4 nics=2 nic=12.5 x3 fabric=flat", 3, 3, 12, 0, 6, 1, 12},
      {"host cores=4 nics=2 x3", 3, 3, 12, 0, 6, 2, 12},
      {"dgx-1v", 1, 0, 0, 8, 0, 0, 24},
      {"dgx-1v nics=4", 1, 0, 0, 8, 4, 0, 36},
      {"dgx-1v nics=4 x2", 2, 0, 0, 16, 8, 4, 80},
      {"dgx-2", 1, 0, 0, 16, 8, 0, 40},
      {"dgx-a100", 1, 0, 0, 8, 8, 0, 16},
      {"dgx-a100 x1", 1, 0, 0, 8, 8, 0, 16},
      {"dgx-a100 x2 fabric=rail", 2, 0, 0, 16, 16, 8, 48},
      {"dgx-a100 fabric=flat x2", 2, 0, 0, 16, 16, 1, 48},
      {"dgx-h100 x4", 4, 0, 0, 32, 32, 8, 96},
      {"dgx-h100 x1 fabric=flat", 1, 0, 0, 8, 8, 1, 24},
      {"hgx-b200", 1, 0, 0, 8, 8, 0, 16},
      {"gb200-nvl72", 19, 0, 0, 72, 72, 0, 144},
      {"gb200-nvl72 x2", 38, 0, 0, 144, 144, 4, 432},
      {"mi250", 1, 0, 0, 16, 8, 0, 80},
      {"mi300x", 1, 0, 0, 8, 8, 0, 36},
      {"pcie", 1, 2, 0, 8, 0, 0, 13},
      {"pcie gpus=1", 1, 1, 0, 1, 0, 0, 2},
      {"pcie gpus=5 per-switch=2 sockets=3 gen=5 nics=2", 1, 3, 0, 5, 2, 0, 13},
      {"pcie sockets=1 nics=2 nic=25 x2", 2, 2, 0, 16, 4, 2, 32},
      {"dgx-a100 x4 fabric=fat-tree leaf=8 spines=2", 4, 0, 0, 32, 32, 6, 104},
      {"dgx-a100 x4 fabric=fat-tree", 4, 0, 0, 32, 32, 5, 100},
      {"dgx-a100 x3 fabric=fat-tree leaf=10 spines=5", 3, 0, 0, 24, 24, 8, 87},
      {"dgx-a100 x4 fabric=rail-spine spines=2", 4, 0, 0, 32, 32, 10, 112},
      {"dgx-a100 x4 fabric=rail-spine leaf=3", 4, 0, 0, 32, 32, 17, 112},
  };
  for (const Shape& shape : shapes) {
    SCOPED_TRACE(shape.line);
    const Graph graph = synthetic(shape.line);
    EXPECT_NO_THROW(validate(graph));
    EXPECT_THAT(nodes_of_kind(graph, NodeKind::kMachine), SizeIs(shape.machines));
    EXPECT_THAT(nodes_of_kind(graph, NodeKind::kNuma), SizeIs(shape.numas));
    EXPECT_THAT(nodes_of_kind(graph, NodeKind::kCore), SizeIs(shape.cores));
    EXPECT_THAT(nodes_of_kind(graph, NodeKind::kGpu), SizeIs(shape.gpus));
    EXPECT_THAT(nodes_of_kind(graph, NodeKind::kNic), SizeIs(shape.nics));
    EXPECT_THAT(nodes_of_kind(graph, NodeKind::kNetSwitch), SizeIs(shape.net_switches));
    EXPECT_THAT(graph.links, SizeIs(shape.links));
    const Report report{graph, {}};
    EXPECT_EQ(read_native_json(write_native_json(report), "synthetic"), report);
  }
}

// Mbit/s that leave each node, by node kind; equal for all nodes of a kind.
int64_t outgoing_mbit_s(const Graph& graph, int32_t node, LinkType type) {
  int64_t sum = 0;
  for (const Link& link : graph.links) {
    if (link.type != type) continue;
    if (link.from == node) sum += link.forward_mbit_s;
    if (link.to == node) sum += link.reverse_mbit_s;
  }
  return sum;
}

TEST(Synthetic_GpuBoxes, HaveTheReferenceCapacities) {
  struct Case {
    const char* line;
    LinkType gpu_link;
    double gpu_gb_s, gpu_pcie_gb_s, nic_gb_s;
  };
  constexpr LinkType kNvLink = LinkType::kNvLink;
  constexpr LinkType kXgmi = LinkType::kXgmi;
  const Case cases[] = {
      {"dgx-1v", kNvLink, 150, 0, 0},
      {"dgx-1v x2 nics=4", kNvLink, 150, 12.5, 12.5},
      {"dgx-2 x2", kNvLink, 150, 12.5, 12.5},
      {"dgx-a100 x2", kNvLink, 300, 25, 25},
      {"dgx-h100 x2", kNvLink, 450, 50, 50},
      {"hgx-b200 x2", kNvLink, 900, 50, 50},
      {"gb200-nvl72 x2", kNvLink, 900, 50, 50},
      {"mi250 x2", kXgmi, 350, 25, 25},
      {"mi300x x2", kXgmi, 448, 50, 50},
      {"pcie x2 nics=2 nic=25 gen=3", kNvLink, 0, 12, 25},
      {"pcie x2 nics=2 nic=25 gen=6", kNvLink, 0, 96, 25},
  };
  for (const Case& c : cases) {
    SCOPED_TRACE(c.line);
    const Graph graph = synthetic(c.line);
    const auto expect = [&](int32_t node, LinkType type, double gb_s) {
      EXPECT_EQ(outgoing_mbit_s(graph, node, type), std::llround(gb_s * kMbitPerGigabyte));
    };
    for (const int32_t gpu : nodes_of_kind(graph, NodeKind::kGpu)) {
      expect(gpu, c.gpu_link, c.gpu_gb_s);
      expect(gpu, LinkType::kPcie, c.gpu_pcie_gb_s);
    }
    for (const int32_t nic : nodes_of_kind(graph, NodeKind::kNic))
      expect(nic, LinkType::kNetwork, c.nic_gb_s);
  }
}

// Mbit/s that leave a set of GPUs, given as bits by GPU; the PCIe switches lie where that is least.
int64_t cut_mbit_s(const Graph& graph, const std::vector<int32_t>& bit_of_node, uint32_t gpus) {
  int64_t mbit_s = 0;
  std::map<int32_t, std::array<int64_t, 2>> of_switch;  // to GPUs outside and inside
  for (const Link& link : graph.links) {
    const int32_t from = bit_of_node[link.from];
    const int32_t to = bit_of_node[link.to];
    if (from >= 0 && to >= 0) {
      if (((gpus >> from) & 1) != ((gpus >> to) & 1)) mbit_s += link.forward_mbit_s;
    } else if (to >= 0) {
      of_switch[link.from][(gpus >> to) & 1] += link.forward_mbit_s;
    }
  }
  for (const auto& [node, sides] : of_switch) mbit_s += std::min(sides[0], sides[1]);
  return mbit_s;
}

// The reference values of 1/x*, the most that a set of GPUs has in number for what leaves it, for
// boxes of GPUs that are linked with each other.
TEST(Synthetic_MeshBoxes, HaveTheReferenceAllGatherBounds) {
  struct Case {
    const char* line;
    int64_t gpus, gb_s;
  };
  for (const Case& c : {Case{"dgx-1v", 7, 150}, Case{"mi250", 7, 150}, Case{"mi300x", 1, 64}}) {
    SCOPED_TRACE(c.line);
    const Graph graph = synthetic(c.line);
    const std::vector<int32_t> gpus = nodes_of_kind(graph, NodeKind::kGpu);
    std::vector<int32_t> bit_of_node(graph.nodes.size(), -1);
    for (size_t g = 0; g < gpus.size(); ++g) bit_of_node[gpus[g]] = static_cast<int32_t>(g);
    bool reached = false;
    for (uint32_t set = 1; set + 1 < uint32_t{1} << gpus.size(); ++set) {
      const int64_t left = std::popcount(set) * c.gb_s * kMbitPerGigabyte;
      const int64_t right = c.gpus * cut_mbit_s(graph, bit_of_node, set);
      ASSERT_LE(left, right) << set;
      reached |= left == right;
    }
    EXPECT_TRUE(reached);
  }
}

TEST(Synthetic_RailFabric, JoinsNicsOfOneRail) {
  const Graph graph = synthetic("dgx-a100 x3");
  for (int rail = 0; rail < 8; ++rail) {
    const auto node = find_node(graph, "rail" + std::to_string(rail));
    ASSERT_TRUE(node);
    int boxes = 0;
    for (const Link& link : graph.links) {
      if (link.to != *node) continue;
      EXPECT_EQ(graph.nodes[link.from].attributes.rail, rail);
      ++boxes;
    }
    EXPECT_EQ(boxes, 3);
  }
}

// Ids of what a node is linked to, ascending.
std::vector<std::string> linked_to(const Graph& graph, const std::string& id) {
  std::vector<std::string> ids;
  for (const Link& link : graph.links) {
    if (graph.nodes[link.from].id == id) ids.push_back(graph.nodes[link.to].id);
    if (graph.nodes[link.to].id == id) ids.push_back(graph.nodes[link.from].id);
  }
  std::sort(ids.begin(), ids.end());
  return ids;
}

TEST(Synthetic_FatTree, FillsLeavesInOrderOfNics) {
  const Graph graph = synthetic("host nics=3 x2 fabric=fat-tree leaf=4 spines=2");
  EXPECT_THAT(linked_to(graph, "leaf0"), ElementsAre("host0/nic0", "host0/nic1", "host0/nic2",
                                                     "host1/nic0", "spine0", "spine1"));
  EXPECT_THAT(linked_to(graph, "leaf1"),
              ElementsAre("host1/nic1", "host1/nic2", "spine0", "spine1"));
}

TEST(Synthetic_RailSpine, FillsLeavesOfEachRail) {
  const Graph graph = synthetic("host nics=2 x3 fabric=rail-spine leaf=2");
  EXPECT_THAT(linked_to(graph, "rail1-leaf0"), ElementsAre("host0/nic1", "host1/nic1", "spine0"));
  EXPECT_THAT(linked_to(graph, "rail1-leaf1"), ElementsAre("host2/nic1", "spine0"));
  EXPECT_THAT(linked_to(synthetic("host nics=2 x3 fabric=rail-spine"), "rail1"),
              ElementsAre("host0/nic1", "host1/nic1", "host2/nic1", "spine0"));
}

TEST(Synthetic_Spines, HaveUplinksByOversubscription) {
  struct Case {
    const char* line;
    const char* leaf;
    int64_t mbit_s;  // of each uplink
    int64_t spines;
  };
  const Case cases[] = {
      {"dgx-h100 x4 fabric=fat-tree", "leaf0", 8 * 400'000, 1},
      {"dgx-h100 x4 fabric=fat-tree leaf=16 spines=4 oversubscription=2", "leaf1", 800'000, 4},
      {"dgx-h100 x3 fabric=fat-tree leaf=16 spines=4", "leaf1", 1'600'000, 4},
      {"dgx-h100 x4 fabric=rail-spine spines=2 oversubscription=1.28", "rail7", 625'000, 2},
      {"dgx-h100 x4 fabric=rail-spine leaf=2 oversubscription=4.000", "rail7-leaf1", 200'000, 1},
  };
  for (const Case& c : cases) {
    SCOPED_TRACE(c.line);
    const Graph graph = synthetic(c.line);
    const auto leaf = find_node(graph, c.leaf);
    ASSERT_TRUE(leaf);
    int64_t spines = 0;
    for (const Link& link : graph.links) {
      if (link.from != *leaf) continue;
      EXPECT_EQ(graph.nodes[link.to].id, "spine" + std::to_string(spines));
      EXPECT_EQ(link.forward_mbit_s, c.mbit_s);
      EXPECT_EQ(link.reverse_mbit_s, c.mbit_s);
      ++spines;
    }
    EXPECT_EQ(spines, c.spines);
  }
}

TEST(Synthetic_Sharp, LetsSwitchesOfTheFabricReduce) {
  for (const char* fabric : {"flat", "rail", "fat-tree", "rail-spine"}) {
    for (const bool sharp : {false, true}) {
      const Graph graph = synthetic(std::string("dgx-a100 x2 fabric=") + fabric +
                                    (sharp ? " sharp=1" : " sharp=0"));
      for (const int32_t node : nodes_of_kind(graph, NodeKind::kNetSwitch))
        EXPECT_EQ(graph.nodes[node].attributes.reduces, sharp) << fabric;
    }
  }
}

// Building is linear in size: what is quadratic takes minutes here.
TEST(Synthetic_16384Gpus, AreBuilt) {
  const Graph graph = synthetic("dgx-h100 x2048 fabric=rail-spine leaf=64 spines=16");
  EXPECT_NO_THROW(validate(graph));
  EXPECT_THAT(nodes_of_kind(graph, NodeKind::kGpu), SizeIs(16384));
  EXPECT_EQ(graph.nodes.back().id, "spine15");
}

// As hosts that are detected and merged.
TEST(Synthetic_Cluster, IsItsBoxesMerged) {
  const Report box{synthetic("dgx-2"), {}};
  std::vector<Report> boxes(3, box);
  for (size_t i = 0; i < boxes.size(); ++i) boxes[i].graph.nodes[0].id += std::to_string(i);
  const Graph merged = merge_hosts(boxes).graph;
  Graph graph = synthetic("dgx-2 x3 fabric=flat");
  EXPECT_EQ(graph.nodes.back().id, "switch0");
  graph.nodes.pop_back();
  graph.links.resize(merged.links.size());
  EXPECT_EQ(graph, merged);
}

TEST(Synthetic_NvSwitch, ReducesOnlyWhereTheHardwareCan) {
  for (const auto& [line, can] : std::map<std::string, bool>{{"dgx-2", false},
                                                             {"dgx-a100", false},
                                                             {"dgx-h100", true},
                                                             {"hgx-b200", true},
                                                             {"gb200-nvl72", true}}) {
    const Graph graph = synthetic(line);
    const Attributes& attributes = graph.nodes[*find_node(graph, "nvswitch")].attributes;
    EXPECT_EQ(attributes.reduces, can);
    EXPECT_EQ(attributes.multicasts, can);
  }
}

TEST(Synthetic_WrongLine, NamesTheWordAndWhatIsAllowed) {
  struct Case {
    const char* line;
    const char* word;
    const char* allowed;
  };
  const Case cases[] = {
      {"", "\"\"", "host, dgx-1v, dgx-2, dgx-a100, dgx-h100"},
      {"dgx-b100", "\"dgx-b100\"", "known are host, dgx-1v"},
      {"cores=2 host", "\"cores=2\"", "unknown model"},
      {"host core=2", "\"core=2\"", "cores=, numa="},
      {"host cores", "\"cores\"", "cores=, numa="},
      {"host cores=", "\"cores=\"", "from 1 to 4096, got \"\""},
      {"host cores=0", "\"cores=0\"", "from 1 to 4096"},
      {"host cores=4x", "\"cores=4x\"", "from 1 to 4096"},
      {"host cores=99999999999999999999", "\"cores=", "from 1 to 4096"},
      {"host cores=2 cores=2", "\"cores=2\"", "given twice"},
      {"host x2 x2 nics=1", "\"x2\"", "given twice"},
      {"host cores=2 numa=3", "\"host\"", "at least as many cores"},
      {"host memory=G", "\"memory=G\"", "expected an integer"},
      {"host memory=99999999T", "\"memory=", "expected an integer"},
      {"host nic=-1", "\"nic=-1\"", "expected GB/s"},
      {"host nic=nan", "\"nic=nan\"", "expected GB/s"},
      {"host nic=0.0001", "\"nic=0.0001\"", "multiple of 0.000125"},
      {"host x2", "\"host\"", "add nics=1"},
      {"dgx-a100 x0", "\"x0\"", "from 1 to 4096"},
      {"dgx-a100 x2y", "\"x2y\"", "from 1 to 4096"},
      {"dgx-a100 fabric=ring", "\"fabric=ring\"", "fabric=flat, fabric=fat-tree, fabric=rail-sp"},
      {"dgx-a100 cores=4", "\"cores=4\"", "xCOUNT and fabric="},
      {"dgx-a100 nics=4", "\"nics=4\"", "xCOUNT and fabric="},
      {"dgx-1v fabric=rail", "\"dgx-1v\"", "add nics=1"},
      {"dgx-1v x2", "\"dgx-1v\"", "add nics=1"},
      {"dgx-1v nics=5", "\"nics=5\"", "from 0 to 4"},
      {"pcie gpus=0", "\"gpus=0\"", "from 1 to 64"},
      {"pcie per-switch=0", "\"per-switch=0\"", "from 1 to 64"},
      {"pcie gen=7", "\"gen=7\"", "from 1 to 6"},
      {"pcie gpus=4 sockets=3", "\"pcie\"", "at least as many PCIe switches, got 2"},
      {"pcie smp=0", "\"smp=0\"", "above 0"},
      {"pcie cores=1", "\"cores=1\"", "gpus=, per-switch=, gen="},
      {"dgx-a100 sharp=1", "\"sharp=1\"", "add xCOUNT or fabric="},
      {"dgx-a100 x2 sharp=2", "\"sharp=2\"", "from 0 to 1"},
      {"dgx-a100 x2 leaf=8", "\"leaf=8\"", "only with fabric=fat-tree or fabric=rail-spine"},
      {"dgx-a100 x2 spines=2", "\"spines=2\"", "only with"},
      {"dgx-a100 oversubscription=2 fabric=rail", "\"oversubscription=2\"", "only with"},
      {"dgx-a100 fabric=fat-tree leaf=0", "\"leaf=0\"", "from 1 to 65536"},
      {"dgx-a100 fabric=fat-tree spines=", "\"spines=\"", "from 1 to 1024"},
      {"dgx-a100 fabric=fat-tree oversubscription=0.5", "=0.5\"",
       "from 1 to 1000 with up to three"},
      {"dgx-a100 fabric=fat-tree oversubscription=1.2345", "=1.2345\"", "three decimals"},
      {"dgx-a100 fabric=fat-tree oversubscription=2.", "=2.\"", "three decimals"},
      {"dgx-a100 fabric=fat-tree oversubscription=-2", "=-2\"", "three decimals"},
      {"dgx-a100 fabric=fat-tree oversubscription=2.-1", "=2.-1\"", "three decimals"},
      {"dgx-a100 fabric=fat-tree oversubscription=1000.001", "=1000.001\"", "three decimals"},
      {"dgx-a100 x2 fabric=fat-tree oversubscription=1.5 spines=7", "\"oversubscription=1.5\"",
       "got 8 ports of 200000 Mbit/s on each leaf, over 7 spines"},
      {"dgx-a100 x4096 fabric=fat-tree leaf=1 spines=1024", "links between",
       "at most 1048576 links between leaves and spines, got 32768 leaves and 1024 spines"},
      {"host x4096 cores=4096 nics=1", "x4096", "at most 524288 nodes, got 4100 in each of 4096"},
  };
  for (const Case& c : cases)
    EXPECT_THAT(refusal([&] { synthetic(c.line); }), AllOf(HasSubstr(c.word), HasSubstr(c.allowed)))
        << c.line;
}

// What docs/howto/describe-a-topology.md shows must work: its JSON block, and the lines of its
// table of models.
TEST(HowTo_DescribeATopology, ExamplesLoad) {
  const std::string page = fixture("../../../docs/howto/describe-a-topology.md");
  const std::string fence = "```json\n";
  const size_t start = page.find(fence);
  ASSERT_NE(start, std::string::npos);
  const std::string json =
      page.substr(start + fence.size(), page.find("```", start + 3) - start - fence.size());
  EXPECT_THAT(read_native_json(json, "how-to").graph.links, SizeIs(2));
  size_t lines = 0;
  const size_t end = page.find("\n\n", page.find("| Line |"));
  for (size_t at = page.find("\n| `", page.find("| Line |")); at < end;
       at = page.find("\n| `", at + 1)) {
    const size_t first = at + 4;
    EXPECT_NO_THROW(synthetic(page.substr(first, page.find('`', first) - first)));
    ++lines;
  }
  EXPECT_EQ(lines, 12U);
  for (const AttributeRow& row : attribute_table())
    EXPECT_THAT(page, HasSubstr(std::string("`") + row.name + "`")) << row.name;
}

TEST(TreeText_SyntheticCluster, MatchesGolden) {
  EXPECT_EQ(tree_text({synthetic("dgx-a100 x2"), {}}), fixture("dgx-a100-x2.tree.txt"));
}

TEST(TreeText_DegradedLinks, AreShown) {
  Graph graph = synthetic("dgx-1v");
  graph.links[0].forward_mbit_s = graph.links[0].reverse_mbit_s = 0;
  graph.links[1].reverse_mbit_s = 8000;
  graph.links[1].latency_ns = 700;
  graph.nodes[1].id = "gpu\n0";
  const std::string text = tree_text({graph, {}});
  EXPECT_THAT(text, HasSubstr("nvlink down: gpu?0 ↔ gpu1"));
  EXPECT_THAT(text, HasSubstr("nvlink 25 GB/s, back 1 GB/s, 700 ns: gpu?0 ↔ gpu2"));
}

}  // namespace
}  // namespace tutti::topology
