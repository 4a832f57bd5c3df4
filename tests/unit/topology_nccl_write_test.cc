// SPDX-License-Identifier: Apache-2.0
// NCCL XML as it is written, of graphs from everywhere; public machines; telling formats apart.
#include <algorithm>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <map>
#include <string>

#include "tests/unit/topology_nccl_support.h"
#include "topology/detectors/hwloc_detector.h"
#include "topology/formats/any.h"
#include "topology/formats/native_json.h"
#include "topology/formats/nccl_tables.h"
#include "topology/synthetic.h"

namespace tutti::topology {
namespace {

using ::testing::HasSubstr;
using ::testing::Not;
using ::testing::StartsWith;

TEST(NcclXmlWriter_EveryPcieBandwidth, IsSaidExactlyAndNotAsTheFirstGenerationWhereItCanBeHelped) {
  for (const char* speed : {"2.5 GT/s", "5 GT/s", "8 GT/s", "16 GT/s", "32 GT/s", "64 GT/s"}) {
    for (const int width : {1, 2, 4, 8, 12, 16, 32}) {
      const int64_t mbit_s = nccl::pcie_mbit_s(speed, std::to_string(width)).value();
      const nccl::PcieRate rate = nccl::pcie_rate(mbit_s);
      EXPECT_EQ(nccl::pcie_mbit_s(rate.speed, rate.width), mbit_s) << speed << ' ' << width;
      // Only one and twelve lanes of the first generation are nothing of a later one.
      EXPECT_EQ(nccl::is_first_generation(rate.speed), mbit_s == 1500 || mbit_s == 18'000)
          << speed << ' ' << width;
    }
  }
}

TEST(NcclXmlWriter_OtherPcieBandwidth, IsTheNextBelow) {
  struct Case {
    int64_t mbit_s;
    const char* speed;
    const char* width;
  };
  const Case cases[] = {{kUnknown, "", ""},
                        {0, "", ""},
                        {1, "2.5 GT/s PCIe", "1"},
                        {126'000, "8.0 GT/s PCIe", "16"},  // what lspci calls 15.75 GB/s
                        {252'000, "16.0 GT/s PCIe", "16"},
                        {504'000, "32.0 GT/s PCIe", "16"},
                        {INT64_MAX, "64.0 GT/s PCIe", "32"}};
  for (const Case& c : cases) {
    const nccl::PcieRate rate = nccl::pcie_rate(c.mbit_s);
    EXPECT_EQ(rate.speed, c.speed) << c.mbit_s;
    EXPECT_EQ(rate.width, c.width) << c.mbit_s;
  }
}

TEST(NcclXmlWriter_Text, HasWhatNcclRequires) {
  const std::string xml = write_nccl_xml(
      read_nccl(nccl_machine(nccl_gpu("01:00.0", R"(dev="0" sm="90")",
                                      R"(<nvlink target="02:00.0" count="2" tclass="0x030200"/>)") +
                             nccl_gpu("02:00.0", R"(dev="1" sm="90")"))));
  EXPECT_EQ(xml, R"(<system version="1">
  <cpu numaid="0" affinity="0000000f" arch="x86_64" vendor="GenuineIntel" familyid="6" modelid="143">
    <pci busid="0000:01:00.0" class="0x030200" link_speed="16.0 GT/s PCIe" link_width="16">
      <gpu dev="0" sm="90" rank="0" gdr="1">
        <nvlink target="0000:02:00.0" tclass="0x030200" count="2" />
      </gpu>
    </pci>
    <pci busid="0000:02:00.0" class="0x030200" link_speed="16.0 GT/s PCIe" link_width="16">
      <gpu dev="1" sm="90" rank="1" gdr="1">
        <nvlink target="0000:01:00.0" tclass="0x030200" count="2" />
      </gpu>
    </pci>
  </cpu>
</system>
)");
}

TEST(NcclXmlWriter_RcclGraph, IsVersionTwo) {
  const auto version_of = [](const std::string& gpu) {
    return write_nccl_xml(read_nccl(nccl_machine(nccl_gpu("01:00.0", gpu)))).substr(0, 20);
  };
  EXPECT_EQ(version_of(R"(dev="0" gcn="910")"), "<system version=\"2\">");
  EXPECT_EQ(version_of(R"(dev="0" sm="90")"), "<system version=\"1\">");
}

TEST(NcclXmlWriter_SyntheticMachines, KeepTheirGpusAndLinksAndSayWhatIsLost) {
  struct Case {
    const char* line;
    size_t gpus;
    size_t nics;
    const char* lost;
  };
  const Case cases[] = {{"host cores=4 numa=2 nics=2 memory=8G", 0, 2, "4 x core, 2 x package"},
                        {"dgx-1v", 8, 0, "exact bandwidth of a GPU's links"},
                        {"dgx-a100", 8, 8, "8 x pcie link"},
                        {"dgx-h100", 8, 8, "8 x pcie link"}};
  for (const Case& c : cases) {
    const std::string xml = write_nccl_xml({synthetic(c.line), {}});
    EXPECT_THAT(xml, HasSubstr("<!-- left out: ")) << c.line;
    EXPECT_THAT(xml, HasSubstr(c.lost)) << c.line;
    const Report back = read_nccl(xml);
    EXPECT_EQ(nodes_of_kind(back.graph, NodeKind::kGpu).size(), c.gpus) << c.line;
    EXPECT_EQ(nodes_of_kind(back.graph, NodeKind::kNic).size(), c.nics) << c.line;
  }
}

// Of GPUs that are not known, the smallest bandwidth is taken to be that of one link.
TEST(NcclXmlWriter_LinksAddedUp, KeepTheirRatio) {
  Graph graph;
  const int32_t machine = add_node(graph, "box", NodeKind::kMachine, -1);
  for (const char* id : {"a", "b", "c"})
    add_node(graph, id, NodeKind::kGpu, machine, {.os_index = id[0] - 'a'});
  add_link(graph, 1, 2, LinkType::kNvLink, 25 * kMbitPerGigabyte);
  add_link(graph, 2, 3, LinkType::kNvLink, 50 * kMbitPerGigabyte);
  add_link(graph, 1, 3, LinkType::kNvLink, 75 * kMbitPerGigabyte);
  add_link(graph, 1, 3, LinkType::kNvLink, 25 * kMbitPerGigabyte);
  const std::string xml = write_nccl_xml({graph, {}});
  EXPECT_THAT(xml, HasSubstr("6 x exact bandwidth of a GPU's links"));
  const Report back = read_nccl(xml);
  const std::vector<std::string> gpus = ids_of(back, NodeKind::kGpu);
  ASSERT_EQ(gpus.size(), 3U);
  EXPECT_EQ(links_between(back, gpus[0], gpus[1], LinkType::kNvLink).size(), 1U);
  EXPECT_EQ(links_between(back, gpus[1], gpus[2], LinkType::kNvLink).size(), 2U);
  EXPECT_EQ(links_between(back, gpus[0], gpus[2], LinkType::kNvLink).size(), 4U);
}

TEST(NcclXmlWriter_DetectedMachine, KeepsItsDevices) {
  const Report machine = read_hwloc_xml(fixture("two_packages.hwloc.xml"), "two_packages.hwloc.xml",
                                        {fixture_path("node7")});
  const Report back = read_nccl(write_nccl_xml(machine));
  for (const NodeKind kind :
       {NodeKind::kNuma, NodeKind::kGpu, NodeKind::kNic, NodeKind::kPciSwitch}) {
    const auto addresses = [kind](const Graph& graph) {
      std::map<std::string, std::string> numa_of;  // by PCI address, or by number
      for (const int32_t node : nodes_of_kind(graph, kind)) {
        const Attributes& attributes = graph.nodes[node].attributes;
        if (graph.nodes[node].id.starts_with("nic_card:")) continue;
        numa_of[attributes.pci_address] +=
            attributes.verbs_device.empty() ? attributes.device : attributes.verbs_device;
      }
      return numa_of;
    };
    const auto got = addresses(back.graph);
    for (const auto& [address, device] : addresses(machine.graph))
      EXPECT_TRUE(got.contains(address)) << address << ' ' << to_text(kind);
  }
}

TEST(NcclXmlWriter_ClusterItCanNotSay, IsRefused) {
  EXPECT_THAT(refusal([] {
                write_nccl_xml({synthetic("dgx-a100 x2"), {}});
              }),
              HasSubstr("there are several here"));
  EXPECT_THAT(refusal([] {
                write_nccl_xml({synthetic("host x3 nics=1"), {}});
              }),
              HasSubstr("has the host_id \"\""));
  EXPECT_THAT(refusal([] {
                write_nccl_xml({synthetic("gb200-nvl72"), {}});
              }),
              HasSubstr("has the host_id \"\""));
}

struct Expected {
  size_t gpus;
  size_t nics;
  size_t nvswitches;
};

// What the public collections are known to hold.
const std::map<std::string, Expected> kKnown = {
    {"topo_16p1h.xml", {16, 8, 0}},    {"topo_8p_940.xml", {8, 8, 0}},
    {"topo_4p3l.xml", {4, 2, 0}},      {"topo_8p_pcie.xml", {8, 1, 0}},
    {"H100-topology.xml", {8, 16, 1}}, {"p4d-24xl-topo.xml", {8, 4, 0}},
    {"ndv5-topo.xml", {8, 8, 0}},      {"ncv4-topo.xml", {4, 1, 0}},
};

std::filesystem::path public_machines() {
  const char* set = std::getenv("TUTTI_TEST_TOPOLOGIES");
  return set != nullptr ? set : TUTTI_SOURCE_DIR "/../shared/topologies";
}
std::string text_of_file(const std::filesystem::path& path) {
  std::ifstream file(path, std::ios::binary);
  return {std::istreambuf_iterator<char>(file), {}};
}

TEST(NcclXml_PublicMachines, AreReadAndComeBack) {
  size_t files = 0;
  for (const char* maker : {"rccl", "azure", "aws", "oci"}) {
    const std::filesystem::path folder = public_machines() / maker;
    if (!std::filesystem::is_directory(folder))
      GTEST_SKIP() << folder << " is not there; set TUTTI_TEST_TOPOLOGIES to the folder of it";
    for (const auto& entry : std::filesystem::directory_iterator(folder)) {
      if (entry.path().extension() != ".xml") continue;
      SCOPED_TRACE(entry.path());
      const Report report = read_topology(text_of_file(entry.path()), entry.path().filename());
      EXPECT_EQ(read_nccl_xml(write_nccl_xml(report), "again").graph, report.graph);
      const auto gpus = nodes_of_kind(report.graph, NodeKind::kGpu);
      EXPECT_GE(gpus.size(), 3U);
      for (size_t i = 0; i < gpus.size(); ++i) {
        const int64_t dev = report.graph.nodes[gpus[i]].attributes.os_index;
        EXPECT_TRUE(dev == kUnknown || dev == static_cast<int64_t>(i));
      }
      ++files;
      const auto known = kKnown.find(entry.path().filename());
      if (known == kKnown.end()) continue;
      EXPECT_EQ(gpus.size(), known->second.gpus);
      EXPECT_EQ(nodes_of_kind(report.graph, NodeKind::kNic).size(), known->second.nics);
      EXPECT_EQ(nodes_of_kind(report.graph, NodeKind::kNvSwitch).size(), known->second.nvswitches);
    }
  }
  EXPECT_GE(files, 30U);
}

// Links between each two GPUs, or a GPU and the NVSwitch.
std::map<int64_t, int> bundle_sizes(const Graph& graph, LinkType type) {
  std::map<std::pair<int32_t, int32_t>, int64_t> links;
  for (const Link& link : graph.links)
    if (link.type == type) ++links[{link.from, link.to}];
  std::map<int64_t, int> sizes;
  for (const auto& [pair, count] : links) ++sizes[count];
  return sizes;
}

TEST(NcclXml_PublicMachines, HaveTheirLinksInParallel) {
  const std::filesystem::path mi250 = public_machines() / "rccl/topo_16p1h.xml";
  const std::filesystem::path h100 = public_machines() / "oci/H100-topology.xml";
  if (!std::filesystem::exists(mi250) || !std::filesystem::exists(h100))
    GTEST_SKIP() << public_machines()
                 << " is not there; set TUTTI_TEST_TOPOLOGIES to the folder of it";
  // Two halves of one MI250 have four links, others one or two.
  const Report amd = read_nccl(text_of_file(mi250));
  EXPECT_EQ(bundle_sizes(amd.graph, LinkType::kXgmi),
            (std::map<int64_t, int>{{1, 16}, {2, 4}, {4, 8}}));
  const Report nvidia = read_nccl(text_of_file(h100));
  EXPECT_EQ(bundle_sizes(nvidia.graph, LinkType::kNvLink), (std::map<int64_t, int>{{18, 8}}));
  EXPECT_TRUE(part(nvidia, "nvswitch").attributes.reduces);
}

TEST(AnyFormat_Files, AreToldApartByTheirBeginning) {
  const Report nccl = read_nccl_xml(nccl_machine(""), "n");
  EXPECT_EQ(read_topology(nccl_machine(""), "n"), nccl);
  EXPECT_EQ(
      read_topology(
          "\xef\xbb\xbf <?xml version=\"1.0\"?>\n<!-- <topology> -->\n" + nccl_machine(""), "n")
          .graph,
      nccl.graph);
  EXPECT_EQ(read_topology(write_native_json(nccl), "n"), nccl);
  const std::string hwloc = fixture("guest.hwloc.xml");
  EXPECT_EQ(read_topology(hwloc, "guest").graph, read_hwloc_xml(hwloc, "guest").graph);
}

TEST(AnyFormat_OtherFiles, AreRefusedWithTheFormatsThatItCouldBe) {
  struct Case {
    std::string text;
    const char* got;
  };
  const Case cases[] = {{"", "got nothing"},         {"\n <!-- no end", "got nothing"},
                        {"[1]", "got \"[\""},        {"<graphs>", "got \"<graphs>\""},
                        {"<systems/>", "<systems>"}, {"\x7f", "got \"?\""},
                        {"<", "got \"<>\""},         {"<" + std::string(99, 'a'), "<aaa"}};
  for (const Case& c : cases) {
    const std::string message = refusal([&] { read_topology(c.text, "file"); });
    EXPECT_THAT(message,
                StartsWith("file: expected one of native JSON (begins with {), hwloc v2 XML "
                           "(begins with <topology>), NCCL XML (begins with <system>)"));
    EXPECT_THAT(message, HasSubstr(c.got));
  }
}

}  // namespace
}  // namespace tutti::topology
