// SPDX-License-Identifier: Apache-2.0
// Host graphs become one cluster graph.
#include <string>
#include <vector>

#include "tests/unit/topology_support.h"
#include "topology/merge.h"
#include "topology/synthetic.h"

namespace tutti::topology {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::SizeIs;

Report host(const std::string& name, const std::string& host_id) {
  Report report{synthetic("host cores=2 nics=1"), {{"hwloc", "something was skipped"}}};
  report.graph.nodes[0].id = name;
  report.graph.nodes[0].attributes.host_id = host_id;
  return report;
}

TEST(MergeHosts_TwoHosts, KeepsBothWithPrefixedIds) {
  const std::vector<Report> hosts = {host("a", "1"), host("b", "2")};
  const Report merged = merge_hosts(hosts);
  validate(merged.graph);
  EXPECT_EQ(merged.graph.nodes.size(), 1 + 2 * hosts[0].graph.nodes.size());
  EXPECT_EQ(merged.graph.links.size(), 2 * hosts[0].graph.links.size());
  EXPECT_EQ(merged.graph.nodes[0].kind, NodeKind::kCluster);
  const auto core = find_node(merged.graph, "b/core1");
  ASSERT_TRUE(core);
  EXPECT_EQ(merged.graph.nodes[*core].parent, find_node(merged.graph, "b/numa0"));
  EXPECT_THAT(merged.notes, ElementsAre(Note{"hwloc", "a: something was skipped"},
                                        Note{"hwloc", "b: something was skipped"}));
}

TEST(MergeHosts_OneHostTwice, BecomesOneMachine) {
  const std::vector<Report> hosts = {host("a", "1"), host("a", "1"), host("b", "2"),
                                     host("a", "1")};
  const Report merged = merge_hosts(hosts);
  EXPECT_EQ(merged.graph, merge_hosts(std::vector<Report>{hosts[0], hosts[2]}).graph);
  EXPECT_THAT(merged.notes, SizeIs(2));
}

TEST(MergeHosts_OneNameTwoHosts, AreKeptApart) {
  const Report merged =
      merge_hosts(std::vector<Report>{host("a", "1"), host("a", "2"), host("a", "")});
  EXPECT_THAT(nodes_of_kind(merged.graph, NodeKind::kMachine), SizeIs(3));
  EXPECT_TRUE(find_node(merged.graph, "a.2/core0"));
  EXPECT_TRUE(find_node(merged.graph, "a.3/core0"));
}

TEST(MergeHosts_ProcessesThatSeeDifferentParts, Unite) {
  Report first = host("a", "1");
  Report second = first;
  auto& first_core = first.graph.nodes[*find_node(first.graph, "core0")].attributes;
  auto& second_core = second.graph.nodes[*find_node(second.graph, "core0")].attributes;
  first_core.cpus = second_core.cpus = "0-1";
  first_core.usable_cpus = "0";
  second_core.usable_cpus = "1";
  first_core.l2_bytes = kUnknown;
  second_core.l2_bytes = 4096;
  first.graph.links[0].latency_ns = 5;
  second.graph.links[0].latency_ns = kUnknown;
  const int32_t gpu = add_node(second.graph, "gpu0", NodeKind::kGpu, 0);
  add_link(second.graph, 1, gpu, LinkType::kPcie, 8000);
  const Graph merged = merge_hosts(std::vector<Report>{first, second}).graph;
  const Attributes& core = merged.nodes[*find_node(merged, "a/core0")].attributes;
  EXPECT_EQ(core.usable_cpus, "0-1");
  EXPECT_EQ(core.l2_bytes, 4096);
  EXPECT_TRUE(find_node(merged, "a/gpu0"));
  EXPECT_THAT(merged.links, SizeIs(first.graph.links.size() + 1));
  EXPECT_EQ(merged.links[0].latency_ns, 5);
}

TEST(MergeHosts_ParallelLinks, AreMatchedOneToOne) {
  Report first = host("a", "1");
  first.graph.links.push_back(first.graph.links[0]);
  const Report second = first;
  EXPECT_THAT(merge_hosts(std::vector<Report>{first, second}).graph.links,
              SizeIs(first.graph.links.size()));
}

TEST(MergeHosts_Contradiction, KeepsTheFirstAndSaysSo) {
  Report first = host("a", "1");
  Report second = first;
  first.graph.nodes[0].attributes.memory_bytes = 1;
  second.graph.nodes[0].attributes.memory_bytes = 2;
  second.graph.links[0].forward_mbit_s = 3;
  const Report merged = merge_hosts(std::vector<Report>{first, second});
  EXPECT_EQ(merged.graph.nodes[1].attributes.memory_bytes, 1);
  ASSERT_THAT(merged.notes, SizeIs(3));
  EXPECT_THAT(merged.notes[1].text,
              HasSubstr("a: two processes of this host disagree on memory_bytes"));
  EXPECT_THAT(merged.notes[2].text, HasSubstr("disagree on bandwidth"));
}

TEST(MergeHosts_WrongInput, IsRefused) {
  EXPECT_THAT(refusal([] { merge_hosts({}); }), HasSubstr("no host to merge"));
  const std::vector<Report> cluster = {{synthetic("dgx-a100 x2"), {}}};
  EXPECT_THAT(refusal([&] { merge_hosts(cluster); }),
              HasSubstr("can't merge \"cluster\", a cluster; expected a machine"));
}

}  // namespace
}  // namespace tutti::topology
