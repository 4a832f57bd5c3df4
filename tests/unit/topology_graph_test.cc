// SPDX-License-Identifier: Apache-2.0
// Invariants, identity and names of topology graphs.
#include <functional>
#include <set>
#include <string>

#include "tests/unit/topology_support.h"
#include "topology/graph.h"

namespace tutti::topology {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;

Graph small_graph() {
  Graph graph;
  const int32_t machine = add_node(graph, "m", NodeKind::kMachine, -1);
  const int32_t gpu = add_node(graph, "gpu0", NodeKind::kGpu, machine, {.os_index = 0});
  const int32_t nvswitch = add_node(graph, "nvswitch", NodeKind::kNvSwitch, machine);
  add_link(graph, gpu, nvswitch, LinkType::kNvLink, 300 * kMbitPerGigabyte, 500);
  return graph;
}

TEST(GraphValidate_SmallGraph, IsAccepted) { EXPECT_NO_THROW(validate(small_graph())); }

TEST(GraphValidate_BrokenInvariant, IsNamed) {
  struct Case {
    const char* name;
    std::function<void(Graph&)> damage;
    const char* message;
  };
  const Case cases[] = {
      {"empty graph", [](Graph& g) { g = {}; }, "no nodes"},
      {"empty id", [](Graph& g) { g.nodes[1].id.clear(); }, "node 1 has an empty id"},
      {"equal ids", [](Graph& g) { g.nodes[2].id = "gpu0"; }, "two nodes have the id \"gpu0\""},
      {"root with parent", [](Graph& g) { g.nodes[0].parent = 1; }, "node \"m\" has parent 1"},
      {"second root", [](Graph& g) { g.nodes[1].parent = -1; }, "node \"gpu0\" has parent -1"},
      {"own parent", [](Graph& g) { g.nodes[2].parent = 2; }, "node \"nvswitch\" has parent 2"},
      {"later parent", [](Graph& g) { g.nodes[1].parent = 2; }, "node \"gpu0\" has parent 2"},
      {"gpu as root", [](Graph& g) { g.nodes[0].kind = NodeKind::kGpu; },
       "expected a machine or a cluster"},
      {"link out of range", [](Graph& g) { g.links[0].to = 3; },
       "joins nodes 1 and 3; there are 3 nodes"},
      {"negative end", [](Graph& g) { g.links[0].from = -1; }, "joins nodes -1 and 2"},
      {"link to itself", [](Graph& g) { g.links[0].to = 1; }, "joins \"gpu0\" with itself"},
      {"negative bandwidth", [](Graph& g) { g.links[0].reverse_mbit_s = -2; },
       "negative bandwidth or latency"},
      {"too deep",
       [](Graph& g) {
         for (int i = 0; i < kMaxDepth; ++i)
           add_node(g, "deep" + std::to_string(i), NodeKind::kCache,
                    static_cast<int32_t>(g.nodes.size()) - 1);
       },
       "more than 64 levels deep"},
  };
  for (const Case& c : cases) {
    Graph graph = small_graph();
    c.damage(graph);
    EXPECT_THAT(refusal([&] { validate(graph); }), HasSubstr(c.message)) << c.name;
  }
}

// Every field counts: changing any one of them changes the hash.
TEST(GraphHash_OneFieldChanged, Differs) {
  const Graph original = small_graph();
  std::set<uint64_t> hashes = {hash(original)};
  size_t expected = 1;
  const auto expect_new = [&](const char* what, const Graph& graph) {
    hashes.insert(hash(graph));
    EXPECT_EQ(hashes.size(), ++expected) << what;
  };
  for (const AttributeRow& row : attribute_table()) {
    Graph graph = original;
    Attributes& attributes = graph.nodes[1].attributes;
    if (const auto* integer = std::get_if<int64_t Attributes::*>(&row.field))
      attributes.*(*integer) = 77;
    if (const auto* text = std::get_if<std::string Attributes::*>(&row.field))
      attributes.*(*text) = "77";
    if (const auto* flag = std::get_if<bool Attributes::*>(&row.field)) attributes.*(*flag) = true;
    expect_new(row.name, graph);
  }
  const std::function<void(Graph&)> changes[] = {
      [](Graph& g) { g.nodes[1].id = "gpu1"; },
      [](Graph& g) { g.nodes[1].kind = NodeKind::kNic; },
      [](Graph& g) { g.nodes[2].parent = 1; },
      [](Graph& g) { g.links[0].type = LinkType::kXgmi; },
      [](Graph& g) { g.links[0].forward_mbit_s = 1; },
      [](Graph& g) { g.links[0].reverse_mbit_s = 1; },
      [](Graph& g) { g.links[0].latency_ns = kUnknown; },
      [](Graph& g) { std::swap(g.links[0].from, g.links[0].to); },
  };
  for (const auto& change : changes) {
    Graph graph = original;
    change(graph);
    expect_new("structure", graph);
  }
  EXPECT_EQ(hash(small_graph()), hash(original));
}

TEST(GraphNames_EveryKindAndType, RoundTrip) {
  for (auto kind = NodeKind::kCluster; kind <= NodeKind::kNetSwitch;
       kind = NodeKind(static_cast<int>(kind) + 1))
    EXPECT_EQ(parse_node_kind(to_text(kind)), kind);
  for (auto type = LinkType::kMemory; type <= LinkType::kNetwork;
       type = LinkType(static_cast<int>(type) + 1))
    EXPECT_EQ(parse_link_type(to_text(type)), type);
  EXPECT_FALSE(parse_node_kind("gpuu"));
  EXPECT_FALSE(parse_link_type(""));
}

TEST(GraphQueries_SmallGraph, FindNodesAndChildren) {
  const Graph graph = small_graph();
  EXPECT_EQ(find_node(graph, "nvswitch"), 2);
  EXPECT_FALSE(find_node(graph, "gpu1"));
  EXPECT_THAT(nodes_of_kind(graph, NodeKind::kGpu), ElementsAre(1));
  EXPECT_THAT(children(graph)[0], ElementsAre(1, 2));
  EXPECT_THAT(children(graph)[2], IsEmpty());
}

TEST(CpuList_ValidText, RoundTrips) {
  EXPECT_THAT(parse_cpu_list("0-3,8,10-11"), ElementsAre(0, 1, 2, 3, 8, 10, 11));
  EXPECT_THAT(parse_cpu_list(""), IsEmpty());
  for (const char* text : {"", "0", "0-1", "0,2", "0-3,8,10-11", "1000-1023"})
    EXPECT_EQ(cpu_list(parse_cpu_list(text)), text);
  EXPECT_EQ(cpu_list({3, 1, 2, 3}), "1-3");
}

TEST(CpuList_InvalidText, IsRefused) {
  for (const char* text :
       {",", "1,", "a", "1-", "-1", "3-1", "1,1", "2,1", "1 2", "0-99999999", "1--2", "0x1"})
    EXPECT_THAT(refusal([&] { parse_cpu_list(text); }), HasSubstr("is not a list of CPUs")) << text;
}

}  // namespace
}  // namespace tutti::topology
