// SPDX-License-Identifier: Apache-2.0
// InfiniBand fabrics: what ibnetdiscover printed, and a host's place in them.
#include <string>
#include <vector>

#include "tests/unit/topology_support.h"
#include "topology/fabric.h"
#include "topology/formats/ibnetdiscover.h"
#include "topology/formats/native_json.h"
#include "topology/formats/tree_text.h"
#include "topology/link_rates.h"

namespace tutti::topology {
namespace {

using ::testing::AllOf;
using ::testing::Contains;
using ::testing::ElementsAre;
using ::testing::Field;
using ::testing::HasSubstr;
using ::testing::Not;

Report pod() { return read_ibnetdiscover(fixture("pod.ibnetdiscover.txt"), "pod"); }

TEST(LinkRates_Infiniband, AreDataRates) {
  struct Case {
    int64_t lanes;
    const char* speed;
    int64_t mbit_s;
  };
  const Case cases[] = {{4, "SDR", 8'000},           {4, "DDR", 16'000},   {4, "QDR", 32'000},
                        {4, "FDR10", 40'000},        {4, "FDR", 54'545},   {4, "EDR", 100'000},
                        {4, "HDR", 200'000},         {2, "HDR", 100'000},  {4, "NDR", 400'000},
                        {4, "XDR", 800'000},         {1, "EDR", 25'000},   {12, "SDR", 24'000},
                        {8, "NDR", 800'000},         {3, "HDR", kUnknown}, {4, "hdr", kUnknown},
                        {kUnknown, "HDR", kUnknown}, {4, "", kUnknown}};
  for (const Case& c : cases)
    EXPECT_EQ(infiniband_mbit_s(c.lanes, c.speed), c.mbit_s) << c.lanes << "x" << c.speed;
}

TEST(LinkRates_Pcie, FollowTheGeneration) {
  EXPECT_EQ(pcie_mbit_s(3, 16), 126'030);
  EXPECT_EQ(pcie_mbit_s(4, 16), 252'061);
  EXPECT_EQ(pcie_mbit_s(1, 1), 2'000);
  EXPECT_EQ(pcie_mbit_s(0, 16), kUnknown);
  EXPECT_EQ(pcie_mbit_s(7, 16), kUnknown);
  EXPECT_EQ(pcie_mbit_s(4, 0), kUnknown);
}

TEST(Ibnetdiscover_Pod, MatchesGoldenTree) { EXPECT_EQ(tree_text(pod()), fixture("pod.tree.txt")); }

TEST(Ibnetdiscover_Pod, SurvivesTheNativeFormat) {
  EXPECT_EQ(read_native_json(write_native_json(pod()), "again"), pod());
}

// Blocks in the opposite order, as another node's discovery may print them.
TEST(Ibnetdiscover_BlocksInAnyOrder, GiveTheSameGraph) {
  const std::string text = fixture("pod.ibnetdiscover.txt");
  std::vector<std::string> blocks;
  for (size_t at = 0; at < text.size();) {
    const size_t end = std::min(text.find("\n\n", at), text.size());
    blocks.push_back(text.substr(at, end - at) + "\n\n");
    at = std::min(end + 2, text.size());
  }
  std::string turned;
  for (auto block = blocks.rbegin(); block != blocks.rend(); ++block) turned += *block;
  EXPECT_EQ(read_ibnetdiscover(turned, "turned"), pod());
}

constexpr const char* kPair = R"(Ca 1 "H-0000000000000001"  # "a mlx5_0"
[1](2) "H-0000000000000003"[1](4)  # lid 1 lmc 0 "b HCA-1" lid 2 4xNDR
Ca 1 "H-0000000000000003"  # "b HCA-1"
[1](4) "H-0000000000000001"[1](2)  # lid 2 lmc 0 "a mlx5_0" lid 1 4xNDR
)";

TEST(Ibnetdiscover_BackToBack, IsOneLinkBetweenTwoNics) {
  const Graph graph = read_ibnetdiscover(kPair, "pair").graph;
  ASSERT_EQ(graph.links.size(), 1U);
  EXPECT_EQ(graph.nodes[graph.links[0].from].id, "a/nic:mlx5_0:1");
  EXPECT_EQ(graph.nodes[graph.links[0].to].id, "b/nic:HCA-1:1");
  EXPECT_EQ(graph.links[0].forward_mbit_s, 400'000);
  EXPECT_EQ(graph.nodes[2].attributes.verbs_device, "mlx5_0");
  EXPECT_EQ(graph.nodes[4].attributes.verbs_device, "");  // HCA-1 is no device's name
}

struct Change {
  const char* what;
  const char* from;
  const char* to;
  const char* message;
};

TEST(Ibnetdiscover_BadText, IsRefusedWithTheLine) {
  const Change changes[] = {
      {"word", "Ca 1", "Ka 1", "line 1: expected a block"},
      {"no ports", "Ca 1", "Ca ", "line 1: expected the number of ports"},
      {"too many ports", "Ca 1", "Ca 255", "line 1: expected the number of ports from 1 to 254"},
      {"huge number", "Ca 1", "Ca 99999999999999999999", "line 1: expected the number of ports"},
      {"kind", "Ca 1 \"H", "Ca 1 \"S", "line 1: expected a name that begins with H-"},
      {"unknown letter", "Ca 1 \"H", "Ca 1 \"X", "line 1: expected a name in quotes"},
      {"short GUID", "1 \"H-00", "1 \"H-0", "line 1: expected a name in quotes"},
      {"no quote", "# \"a mlx5_0\"\n", "# \"a mlx5_0\n",
       "line 1: expected a description in quotes"},
      {"no comment", "  # \"a mlx5_0\"\n", "  \"a\"\n", "line 1: expected # and a description"},
      {"port 0", "[1](2) \"H", "[0](2) \"H", "line 2: expected a port from 1 to 1"},
      {"port too high", "[1](2) \"H", "[2](2) \"H", "line 2: expected a port from 1 to 1"},
      {"no bracket", "[1](2) \"H", "[1(2) \"H", "line 2: expected ] after the port"},
      {"port GUID", "[1](2) \"H", "[1](xyz) \"H", "line 2: expected the GUID of a port"},
      {"no peer", "\"H-0000000000000003\"[1](4)", "nobody", "line 2: expected a name in quotes"},
      {"peer's port", "[1](4)  # lid", "[9](4)  # lid", "line 2: peer 0000:0000:0000:0003 has 1"},
      {"unknown peer", "\"H-0000000000000003\"[1](4)", "\"H-0000000000000009\"[1](4)",
       "line 2: peer 0000:0000:0000:0009 has no block"},
      {"peer's kind", "\"H-0000000000000003\"[1](4)", "\"S-0000000000000003\"[1](4)",
       "line 2: peer 0000:0000:0000:0003 is of another kind"},
      {"contradiction", "[1](4) \"H-0000000000000001\"", "[1](4) \"H-0000000000000003\"",
       "line 2: peer 0000:0000:0000:0003 says that its port 1 is connected to 0000:0000:0000:0003"},
      {"no lid", "\"b HCA-1\" lid 2", "\"b HCA-1\" 2", "line 2: expected \"lid\""},
      {"LID too high", "\"b HCA-1\" lid 2", "\"b HCA-1\" lid 65536", "line 2: expected a LID"},
      {"lanes", "lid 2 4xNDR", "lid 2 5xNDR", "line 2: expected lanes"},
      {"speed", "lid 2 4xNDR", "lid 2 4xABC", "got \"4xABC\""},
      {"second block", "Ca 1 \"H-0000000000000003\"", "Ca 1 \"H-0000000000000001\"",
       "line 3: GUID 0000:0000:0000:0001 has a block already"},
      {"second port", "\nCa 1 \"H-0000000000000003\"  # \"b HCA-1\"", "",
       "line 3: port 1 of this block is given twice"},
  };
  for (const Change& change : changes) {
    std::string text = kPair;
    const size_t at = text.find(change.from);
    ASSERT_NE(at, std::string::npos) << change.what;
    text.replace(at, std::string(change.from).size(), change.to);
    const std::string message = refusal([&] { read_ibnetdiscover(text, "pair"); });
    EXPECT_THAT(message, AllOf(HasSubstr("pair: "), HasSubstr(change.message))) << change.what;
  }
}

TEST(Ibnetdiscover_NoBlocks, IsRefused) {
  for (const char* text : {"", "\n\n", "# nothing\n", "vendid=0x1\n"})
    EXPECT_THAT(refusal([&] { read_ibnetdiscover(text, "empty"); }),
                HasSubstr("no Switch and no Ca"));
  EXPECT_THAT(refusal([] { read_ibnetdiscover("[1] \"H-0000000000000003\"[1]\n", "x"); }),
              HasSubstr("line 1: a port before the first"));
}

TEST(Ibnetdiscover_Names, AreToldFromOtherFormats) {
  EXPECT_TRUE(looks_like_ibnetdiscover(fixture("pod.ibnetdiscover.txt")));
  EXPECT_TRUE(looks_like_ibnetdiscover("\n\nvendid=0x2c9\n"));
  EXPECT_TRUE(looks_like_ibnetdiscover("Switch 3"));
  for (const char* text : {"", " ", "{}", "<topology>", "machine"})
    EXPECT_FALSE(looks_like_ibnetdiscover(text)) << text;
}

TEST(FabricReport_OneHostNameForTwoAdapters, IsNoted) {
  IbFabric fabric;
  fabric.nodes = {{IbKind::kChannelAdapter, 1, "a mlx5_0", {{1, 1, 1, kUnknown}}},
                  {IbKind::kChannelAdapter, 2, "a mlx5_0", {{1, 0, 1, kUnknown}}}};
  const Report report = fabric_report(fabric, "fabric");
  EXPECT_THAT(report.notes,
              ElementsAre(Field(&Note::text, HasSubstr("call themselves \"a mlx5_0\"")),
                          Field(&Note::text, HasSubstr("links of unknown rate: 1"))));
  EXPECT_TRUE(find_node(report.graph, "a/nic:mlx5_0:1.2"));
}

TEST(FabricReport_UnlikeEnds, AreNoted) {
  IbFabric fabric;
  fabric.nodes = {{IbKind::kSwitch, 1, "x", {{1, 1, 1, 100'000}, {2, 1, 2, 100'000}, {3, 1, 9, 1}}},
                  {IbKind::kSwitch, 2, "y", {{1, 0, 1, 50'000}, {2, 0, 3, 100'000}}}};
  const Report report = fabric_report(fabric, "fabric");
  ASSERT_EQ(report.graph.links.size(), 2U);
  EXPECT_EQ(report.graph.links[0].forward_mbit_s, 50'000);  // the lower one
  EXPECT_THAT(report.notes, Contains(Field(&Note::text, HasSubstr("tell different rates"))));
  EXPECT_THAT(report.notes, Contains(Field(&Note::text, HasSubstr("one of their ends only: 1"))));
  EXPECT_THAT(
      report.notes,
      Contains(Field(&Note::text, HasSubstr("ports whose peer names another peer, left out: 2"))));
}

TEST(FabricReport_HostileDescriptions, GiveAValidGraph) {
  IbFabric fabric;
  const char* descriptions[] = {"fabric",           "switch:0000000000000007",
                                "a/nic:1",          "\x1b[2J\xff mlx5_0",
                                "localhost mlx5_0", "a",
                                "a/nic:x 1",        "  "};
  for (size_t i = 0; i < std::size(descriptions); ++i)
    fabric.nodes.push_back(
        {IbKind::kChannelAdapter,
         i + 1,
         descriptions[i],
         {{1, static_cast<int32_t>(std::size(descriptions)), static_cast<int32_t>(i) + 1, 8'000}}});
  fabric.nodes.push_back({IbKind::kSwitch, 7, "\n", {}});
  const Report report = fabric_report(fabric, "fabric");  // validates
  EXPECT_EQ(report.graph.links.size(), std::size(descriptions));
  EXPECT_THAT(tree_text(report), Not(HasSubstr("\x1b")));
}

Report host_with_nic(const std::string& name, const std::string& guid) {
  Report host;
  add_node(host.graph, name, NodeKind::kMachine, -1, {.model = "a host", .host_id = "1"});
  add_node(host.graph, "numa0", NodeKind::kNuma, 0);
  add_node(host.graph, "nic:ib0", NodeKind::kNic, 0,
           {.verbs_device = "mlx5_0", .guid = guid, .port = 1});
  add_link(host.graph, 1, 2, LinkType::kPcie, 1000);
  host.notes = {{"hwloc", "a note"}};
  return host;
}

TEST(JoinFabric_ByGuid, PutsTheHostInItsPlace) {
  for (const char* guid : {"0c42:a103:000a:0000", "0x0C42A103000A0000"}) {
    const Report joined = join_fabric(host_with_nic("other-name", guid), pod());
    const Graph& graph = joined.graph;
    EXPECT_EQ(graph.nodes.size(), pod().graph.nodes.size() + 1);  // numa0
    EXPECT_FALSE(find_node(graph, "node2"));
    const auto nic = find_node(graph, "other-name/nic:ib0");
    ASSERT_TRUE(nic);
    EXPECT_EQ(graph.nodes[*nic].attributes.speed_mbit_s, 200'000);  // the fabric knows
    EXPECT_THAT(graph.links,
                Contains(AllOf(Field(&Link::from, *nic), Field(&Link::type, LinkType::kNetwork))));
    // The other NIC of node2 is this host's too.
    const auto other = find_node(graph, "node2/nic:mlx5_1:1");
    ASSERT_TRUE(other);
    EXPECT_EQ(graph.nodes[graph.nodes[*other].parent].id, "other-name");
    EXPECT_THAT(joined.notes, Contains(Field(&Note::text, "a note")));
  }
}

TEST(JoinFabric_ByName, IsNoted) {
  const Report joined = join_fabric(host_with_nic("node10", ""), pod());
  EXPECT_EQ(nodes_of_kind(joined.graph, NodeKind::kMachine).size(),
            nodes_of_kind(pod().graph, NodeKind::kMachine).size());
  EXPECT_THAT(joined.notes, Contains(Field(&Note::text, HasSubstr("found by its name"))));
}

TEST(JoinFabric_StrangeHost, StandsBesideTheFabric) {
  const Report joined = join_fabric(host_with_nic("elsewhere", "0001:0002:0003:0004"), pod());
  EXPECT_EQ(joined.graph.nodes.size(), pod().graph.nodes.size() + 3);
  EXPECT_EQ(joined.graph.links.size(), pod().graph.links.size() + 1);
  EXPECT_THAT(joined.notes, Contains(Field(&Note::text, HasSubstr("no adapter of the fabric"))));
}

TEST(JoinFabric_WrongRoots, AreRefused) {
  const Report host = host_with_nic("a", "");
  EXPECT_THAT(refusal([&] { join_fabric(pod(), pod()); }), HasSubstr("expected a machine"));
  EXPECT_THAT(refusal([&] { join_fabric(host, host); }), HasSubstr("expected a cluster"));
}

}  // namespace
}  // namespace tutti::topology
