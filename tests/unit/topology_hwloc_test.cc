// SPDX-License-Identifier: Apache-2.0
// The hwloc detector on recorded machines with goldens, and on this one.
#include <sched.h>

#include <string>

#include "tests/unit/topology_support.h"
#include "topology/detectors/hwloc_detector.h"
#include "topology/formats/native_json.h"
#include "topology/formats/tree_text.h"

namespace tutti::topology {
namespace {

using ::testing::Contains;
using ::testing::Field;
using ::testing::HasSubstr;

Report node7() {
  return read_hwloc_xml(fixture("two_packages.hwloc.xml"), "two_packages.hwloc.xml",
                        {fixture_path("node7")});
}

// Absolute fixture paths appear in notes.
std::string without_fixture_path(std::string text) {
  const std::string path = fixture_path("");
  for (size_t at = text.find(path); at != std::string::npos; at = text.find(path))
    text.erase(at, path.size());
  return text;
}

TEST(HwlocDetector_TwoPackagesWithDevices, MatchesGoldenTree) {
  EXPECT_EQ(without_fixture_path(tree_text(node7())), fixture("two_packages.tree.txt"));
}

TEST(HwlocDetector_TwoPackagesWithDevices, MatchesGoldenJson) {
  EXPECT_EQ(without_fixture_path(write_native_json(node7())), fixture("two_packages.json"));
}

TEST(HwlocDetector_VirtualMachine, MatchesGoldenTree) {
  EXPECT_EQ(tree_text(read_hwloc_xml(fixture("guest.hwloc.xml"), "guest")),
            fixture("guest.tree.txt"));
}

TEST(HwlocDetector_FoldedBridges, KeepTheSlowestLink) {
  const Graph graph = node7().graph;
  const auto device = find_node(graph, "nic:0000:82:00.0");  // 2.5 GB/s behind a bridge of 2
  ASSERT_TRUE(device);
  for (const Link& link : graph.links) {
    if (link.to == *device) {
      EXPECT_EQ(link.forward_mbit_s, 2 * kMbitPerGigabyte);
    }
  }
}

TEST(HwlocDetector_NotHwlocV2, IsRefusedWithTheReason) {
  struct Case {
    const char* xml;
    const char* message;
  };
  const Case cases[] = {
      {"", "no such element or version"},
      {"<system version=\"1\"/>", "no such element or version"},
      {"<topology>", "no such element or version"},
      {"<topology version=\"3.0\"></topology>", "got version \"3.0\""},
      {"<topology version=\"1.0", "got version \"1.0\""},
      {"<topology version=\"2.0\">", "hwloc can't read it"},
      {"<topology version=\"2.0\"></topology>", "hwloc can't read it"},
      {"<topology version=\"2.0\"><object type=\"Core\"/></topology>", "hwloc can't read it"},
  };
  for (const Case& c : cases) {
    const std::string message = refusal([&] { read_hwloc_xml(c.xml, "file.xml"); });
    EXPECT_THAT(message, HasSubstr("file.xml: ")) << c.xml;
    EXPECT_THAT(message, HasSubstr(c.message)) << c.xml;
  }
}

// What must hold on any machine that runs the tests.
TEST(HwlocDetector_ThisMachine, IsPlausible) {
  const Report report = detect_hwloc();
  EXPECT_NO_THROW(validate(report.graph));
  const Attributes& machine = report.graph.nodes[0].attributes;
  EXPECT_GT(machine.memory_bytes, 0);
  EXPECT_EQ(machine.host_id.size(), 16U);
  EXPECT_FALSE(nodes_of_kind(report.graph, NodeKind::kNuma).empty());
  EXPECT_FALSE(nodes_of_kind(report.graph, NodeKind::kCore).empty());
  EXPECT_EQ(read_native_json(write_native_json(report), "this machine"), report);
}

class BoundToOneCpu : public ::testing::Test {
 protected:
  void SetUp() override {
    ASSERT_EQ(sched_getaffinity(0, sizeof before_, &before_), 0);
    while (!CPU_ISSET(first_, &before_)) ++first_;
    cpu_set_t one;
    CPU_ZERO(&one);
    CPU_SET(first_, &one);
    ASSERT_EQ(sched_setaffinity(0, sizeof one, &one), 0);
  }
  void TearDown() override { sched_setaffinity(0, sizeof before_, &before_); }
  cpu_set_t before_{};
  int first_ = 0;
};

TEST_F(BoundToOneCpu, HwlocDetector_CountsOnlyThatCpuAsUsable) {
  const Report report = detect_hwloc();
  EXPECT_EQ(report.graph.nodes[0].attributes.usable_cpus, std::to_string(first_));
  const bool other_cpus = report.graph.nodes[0].attributes.cpus != std::to_string(first_);
  if (other_cpus) {
    EXPECT_THAT(report.notes, Contains(Field(&Note::text, HasSubstr("affinity or cgroup"))));
  }
}

}  // namespace
}  // namespace tutti::topology
