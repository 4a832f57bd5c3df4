// SPDX-License-Identifier: Apache-2.0
// Machines from one line: what they hold, and what a wrong line is told.
#include <map>
#include <numeric>
#include <string>
#include <vector>

#include "tests/unit/topology_support.h"
#include "topology/formats/native_json.h"
#include "topology/formats/tree_text.h"
#include "topology/synthetic.h"

namespace tutti::topology {
namespace {

using ::testing::AllOf;
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
      {"dgx-1v", 1, 0, 0, 8, 0, 0, 16},
      {"dgx-a100", 1, 0, 0, 8, 8, 0, 16},
      {"dgx-a100 x1", 1, 0, 0, 8, 8, 0, 16},
      {"dgx-a100 x2 fabric=rail", 2, 0, 0, 16, 16, 8, 48},
      {"dgx-a100 fabric=flat x2", 2, 0, 0, 16, 16, 1, 48},
      {"dgx-h100 x4", 4, 0, 0, 32, 32, 8, 96},
      {"dgx-h100 x1 fabric=flat", 1, 0, 0, 8, 8, 1, 24},
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
    int64_t nvlink_gb_s, nic_gb_s;
  };
  for (const Case& c :
       {Case{"dgx-1v", 150, 0}, Case{"dgx-a100 x2", 300, 25}, Case{"dgx-h100 x2", 450, 50}}) {
    SCOPED_TRACE(c.line);
    const Graph graph = synthetic(c.line);
    for (const int32_t gpu : nodes_of_kind(graph, NodeKind::kGpu)) {
      EXPECT_EQ(outgoing_mbit_s(graph, gpu, LinkType::kNvLink), c.nvlink_gb_s * kMbitPerGigabyte);
      EXPECT_EQ(outgoing_mbit_s(graph, gpu, LinkType::kPcie), c.nic_gb_s * kMbitPerGigabyte);
    }
    for (const int32_t nic : nodes_of_kind(graph, NodeKind::kNic))
      EXPECT_EQ(outgoing_mbit_s(graph, nic, LinkType::kNetwork), c.nic_gb_s * kMbitPerGigabyte);
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

TEST(Synthetic_NvSwitch, ReducesOnlyWhereTheHardwareCan) {
  for (const auto& [line, can] :
       std::map<std::string, bool>{{"dgx-a100", false}, {"dgx-h100", true}}) {
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
      {"", "\"\"", "host, dgx-1v, dgx-a100, dgx-h100"},
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
      {"dgx-a100 fabric=ring", "\"fabric=ring\"", "fabric=rail and fabric=flat"},
      {"dgx-a100 cores=4", "\"cores=4\"", "xCOUNT and fabric="},
      {"dgx-1v fabric=rail", "\"fabric=rail\"", "takes no options"},
      {"dgx-1v x2", "\"x2\"", "no network"},
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
  for (size_t at = page.find("\n| `", page.find("| Line |")); at != std::string::npos;
       at = page.find("\n| `", at + 1)) {
    const size_t first = at + 4;
    EXPECT_NO_THROW(synthetic(page.substr(first, page.find('`', first) - first)));
    ++lines;
  }
  EXPECT_EQ(lines, 4U);
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
