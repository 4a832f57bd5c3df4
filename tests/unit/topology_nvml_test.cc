// SPDX-License-Identifier: Apache-2.0
// GPUs and NVLinks of machines that a fake NVML describes, and the real one's calls against a
// stand-in library.
#include <map>
#include <string>
#include <utility>
#include <vector>

#include "tests/unit/topology_support.h"
#include "topology/detectors/nvml.h"
#include "topology/link_rates.h"

namespace tutti::topology {
namespace {

using ::testing::Contains;
using ::testing::Each;
using ::testing::ElementsAre;
using ::testing::Field;
using ::testing::HasSubstr;
using ::testing::IsEmpty;
using ::testing::SizeIs;

// GB/s of one NVLink by compute capability, times 8000.
int64_t nvlink_mbit_s(int capability) {
  const std::map<int, int64_t> known = {
      {60, 144'000}, {70, 160'000}, {80, 160'000}, {90, 164'800}, {100, 320'800}};
  return known.at(capability);
}

struct FakeLink {
  bool active = true;
  NvlinkPeer peer = NvlinkPeer::kGpu;
  std::string address;  // "": the driver does not tell
  int version = 3;
};

struct FakeGpu {
  std::string address;
  std::optional<int> capability;
  std::optional<int> generation = 3;
  std::optional<int> lanes = 16;
  std::vector<FakeLink> links;
  std::vector<std::optional<int64_t>> c2c;
};

class FakeNvml final : public Nvml {
 public:
  std::string why_not;
  std::vector<FakeGpu> gpus;

  std::string reason() const override { return why_not; }
  int device_count() override { return static_cast<int>(gpus.size()); }
  std::string pci_address(int device) override { return gpus[device].address; }
  std::string name(int device) override { return gpus[device].address.empty() ? "" : "NVIDIA GPU"; }
  std::string uuid(int device) override { return "GPU-" + std::to_string(device); }
  std::optional<int> compute_capability(int device) override { return gpus[device].capability; }
  std::optional<int> max_pcie_generation(int device) override { return gpus[device].generation; }
  std::optional<int> pcie_lanes(int device) override { return gpus[device].lanes; }
  std::optional<bool> nvlink_active(int device, int link) override {
    const FakeLink* const found = at(device, link);
    return found == nullptr ? std::nullopt : std::optional(found->active);
  }
  std::optional<int> nvlink_version(int device, int link) override {
    return at(device, link)->version;
  }
  NvlinkPeer nvlink_peer(int device, int link) override { return at(device, link)->peer; }
  std::string nvlink_peer_address(int device, int link) override {
    return at(device, link)->address;
  }
  std::optional<int> c2c_links(int device) override {
    return static_cast<int>(gpus[device].c2c.size());
  }
  std::optional<int64_t> c2c_mbit_s(int device, int link) override {
    return gpus[device].c2c[link];
  }

 private:
  const FakeLink* at(int device, int link) const {
    const std::vector<FakeLink>& links = gpus[device].links;
    return link < static_cast<int>(links.size()) ? &links[link] : nullptr;
  }
};

std::string address(int gpu) { return "0000:" + std::to_string(10 + gpu) + ":00.0"; }

// How many NVLinks join each two of eight V100.
constexpr int kCubeMesh[8][8] = {{0, 1, 1, 2, 2, 0, 0, 0}, {1, 0, 2, 1, 0, 2, 0, 0},
                                 {1, 2, 0, 2, 0, 0, 1, 0}, {2, 1, 2, 0, 0, 0, 0, 1},
                                 {2, 0, 0, 0, 0, 1, 1, 2}, {0, 2, 0, 0, 1, 0, 2, 1},
                                 {0, 0, 1, 0, 1, 2, 0, 2}, {0, 0, 0, 1, 2, 1, 2, 0}};

FakeNvml dgx_1v() {
  FakeNvml nvml;
  for (int i = 0; i < 8; ++i) {
    FakeGpu gpu{address(i), 70};
    for (int j = 0; j < 8; ++j)
      gpu.links.insert(gpu.links.end(), kCubeMesh[i][j], {.address = address(j)});
    nvml.gpus.push_back(gpu);
  }
  return nvml;
}

FakeNvml dgx_h100() {
  FakeNvml nvml;
  for (int i = 0; i < 8; ++i) {
    FakeGpu gpu{address(i), 90, 5};
    for (int link = 0; link < 18; ++link)
      gpu.links.push_back({.peer = NvlinkPeer::kSwitch,
                           .address = "0000:0" + std::to_string(5 + link % 4) + ":00.0",
                           .version = 6});
    nvml.gpus.push_back(gpu);
  }
  return nvml;
}

// What hwloc knows: GPUs, and NVSwitch chips, below one host bridge each.
Report host(int gpus, int chips) {
  Report report;
  Graph& graph = report.graph;
  add_node(graph, "box", NodeKind::kMachine, -1);
  const int32_t numa = add_node(graph, "numa0", NodeKind::kNuma, 0, {.os_index = 0});
  const int32_t bridge = add_node(graph, "host_bridge:0000:00", NodeKind::kHostBridge, 0);
  add_link(graph, numa, bridge, LinkType::kPcie);
  const auto add_device = [&](NodeKind kind, const std::string& place, const char* prefix) {
    const int32_t node =
        add_node(graph, prefix + place, kind, bridge, {.pci_address = place, .pci_id = "10de:1"});
    add_link(graph, bridge, node, LinkType::kPcie, 2'000);  // idle: generation 1
  };
  for (int i = 0; i < chips; ++i)
    add_device(NodeKind::kNvSwitch, "0000:0" + std::to_string(5 + i) + ":00.0", "nvswitch:");
  for (int i = 0; i < gpus; ++i) add_device(NodeKind::kGpu, address(i), "gpu:");
  report.notes = {{"gpu", "links between GPUs (NVLink, xGMI) are left out"}};
  return report;
}

std::vector<Link> nvlinks(const Graph& graph) {
  std::vector<Link> found;
  for (const Link& link : graph.links)
    if (link.type == LinkType::kNvLink) found.push_back(link);
  return found;
}

TEST(Nvml_Dgx1v, IsTheCubeMesh) {
  FakeNvml nvml = dgx_1v();
  Report report = host(8, 0);
  detect_gpus(nvml, report);
  EXPECT_THAT(report.notes, IsEmpty());
  EXPECT_EQ(report.graph.nodes.size(), host(8, 0).graph.nodes.size());
  std::map<std::pair<std::string, std::string>, int> counts;
  for (const Link& link : nvlinks(report.graph)) {
    ++counts[{report.graph.nodes[link.from].id, report.graph.nodes[link.to].id}];
    EXPECT_EQ(link.forward_mbit_s, nvlink_mbit_s(70));
    EXPECT_EQ(link.reverse_mbit_s, nvlink_mbit_s(70));
  }
  for (int i = 0; i < 8; ++i)
    for (int j = i + 1; j < 8; ++j)
      EXPECT_EQ((counts[{"gpu:" + address(i), "gpu:" + address(j)}]), kCubeMesh[i][j])
          << i << " " << j;
  EXPECT_THAT(nvlinks(report.graph), SizeIs(24));
}

TEST(Nvml_Dgx1v, TellsTheGpus) {
  FakeNvml nvml = dgx_1v();
  Report report = host(8, 0);
  detect_gpus(nvml, report);
  for (int i = 0; i < 8; ++i) {
    const int32_t node = *find_node(report.graph, "gpu:" + address(i));
    const Attributes& gpu = report.graph.nodes[node].attributes;
    EXPECT_EQ(gpu.os_index, i);
    EXPECT_EQ(gpu.model, "NVIDIA GPU");
    EXPECT_EQ(gpu.arch, "sm70");
    EXPECT_EQ(gpu.guid, "GPU-" + std::to_string(i));
    for (const Link& link : report.graph.links) {
      if (link.to == node && link.type == LinkType::kPcie) {
        EXPECT_EQ(link.forward_mbit_s, pcie_mbit_s(3, 16));  // as under load
      }
    }
  }
}

TEST(Nvml_DgxH100, HasOneSwitchThatReduces) {
  FakeNvml nvml = dgx_h100();
  Report report = host(8, 4);
  detect_gpus(nvml, report);
  EXPECT_THAT(
      report.notes,
      ElementsAre(Field(&Note::text, "the machine's 4 NVSwitch chips count as one switch")));
  const std::vector<int32_t> switches = nodes_of_kind(report.graph, NodeKind::kNvSwitch);
  ASSERT_THAT(switches, SizeIs(1));
  EXPECT_TRUE(report.graph.nodes[switches[0]].attributes.reduces);
  EXPECT_TRUE(report.graph.nodes[switches[0]].attributes.multicasts);
  EXPECT_THAT(nvlinks(report.graph), SizeIs(8 * 18));
  for (const Link& link : nvlinks(report.graph)) {
    EXPECT_EQ(link.to, switches[0]);
    EXPECT_EQ(report.graph.nodes[link.from].kind, NodeKind::kGpu);
    EXPECT_EQ(link.forward_mbit_s, nvlink_mbit_s(90));
  }
}

TEST(Nvml_DgxA100, HasASwitchThatDoesNotReduce) {
  FakeNvml nvml = dgx_h100();
  for (FakeGpu& gpu : nvml.gpus) gpu.capability = 80;
  Report report = host(8, 0);
  detect_gpus(nvml, report);
  EXPECT_FALSE(report.graph.nodes[*find_node(report.graph, "nvswitch")].attributes.reduces);
}

struct DeadCase {
  const char* what;
  int told_by;  // how many ends still name the other: 0, 1 or 2
  bool one_end_thinks_it_up;
  size_t links, down;
  const char* message;
};

TEST(Nvml_DeadLink, CountsAsDownOrIsNoted) {
  const DeadCase cases[] = {
      {"both ends name each other", 2, false, 2, 1, ""},
      {"one end names the other", 1, false, 2, 1,
       "NVLinks 1 of gpu:0000:10:00.0 are down or not wired"},
      {"nobody knows", 0, false, 1, 0, "NVLinks 1 of gpu:0000:11:00.0 are down or not wired"},
      {"the ends disagree", 2, true, 2, 1, "tells 1 NVLinks to gpu:0000:11:00.0, which tells 2"},
  };
  for (const DeadCase& c : cases) {
    FakeNvml nvml;
    nvml.gpus = {
        {address(0), 80, 4, 16, {{.address = address(1)}, {.active = false}}},
        {address(1), 80, 4, 16, {{.address = address(0)}, {.active = c.one_end_thinks_it_up}}}};
    for (int i = 0; i < 2; ++i) {
      FakeLink& dead = nvml.gpus[i].links[1];
      dead.peer = 2 - i <= c.told_by ? NvlinkPeer::kGpu : NvlinkPeer::kUnknown;
      if (2 - i <= c.told_by) dead.address = address(1 - i);
    }
    Report report = host(2, 0);
    detect_gpus(nvml, report);
    const std::vector<Link> links = nvlinks(report.graph);
    EXPECT_THAT(links, SizeIs(c.links)) << c.what;
    EXPECT_EQ(std::count_if(links.begin(), links.end(),
                            [](const Link& link) { return link.forward_mbit_s == 0; }),
              static_cast<ptrdiff_t>(c.down))
        << c.what;
    if (*c.message == '\0') {
      EXPECT_THAT(report.notes, IsEmpty()) << c.what;
    } else {
      EXPECT_THAT(report.notes, Contains(Field(&Note::text, HasSubstr(c.message)))) << c.what;
    }
  }
}

TEST(Nvml_DeadLinkToASwitch, IsDown) {
  FakeNvml nvml = dgx_h100();
  nvml.gpus[3].links[7].active = false;
  Report report = host(8, 4);
  detect_gpus(nvml, report);
  const int32_t gpu = *find_node(report.graph, "gpu:" + address(3));
  EXPECT_THAT(nvlinks(report.graph), SizeIs(8 * 18));
  for (const Link& link : nvlinks(report.graph)) {
    if (link.forward_mbit_s == 0) {
      EXPECT_EQ(link.from, gpu);
    }
  }
  EXPECT_THAT(nvlinks(report.graph), Contains(Field(&Link::forward_mbit_s, 0)).Times(1));
}

TEST(Nvml_PeerThatNobodySees, IsNoted) {
  FakeNvml nvml;
  nvml.gpus = {{address(0), 80, 4, 16, {{.address = address(5)}, {.peer = NvlinkPeer::kUnknown}}}};
  Report report = host(1, 0);
  detect_gpus(nvml, report);
  EXPECT_THAT(nvlinks(report.graph), IsEmpty());
  EXPECT_THAT(report.notes,
              ElementsAre(Field(&Note::text, HasSubstr("they lead to a device")),
                          Field(&Note::text, HasSubstr("they lead to 0000:15:00.0"))));
}

// hwloc sees a GPU that this process may not ask.
TEST(Nvml_PeerThatOnlyHwlocSees, IsLinked) {
  FakeNvml nvml;
  nvml.gpus = {{address(0), 80, 4, 16, {{.address = address(1)}, {.address = address(1)}}}};
  Report report = host(2, 0);
  detect_gpus(nvml, report);
  EXPECT_THAT(nvlinks(report.graph), SizeIs(2));
  EXPECT_THAT(nvlinks(report.graph), Each(Field(&Link::forward_mbit_s, nvlink_mbit_s(80))));
}

TEST(Nvml_UnknownCapability, TakesTheLinkVersion) {
  const std::pair<int, int64_t> cases[] = {{1, nvlink_mbit_s(60)},  {3, nvlink_mbit_s(70)},
                                           {5, nvlink_mbit_s(80)},  {6, nvlink_mbit_s(90)},
                                           {7, nvlink_mbit_s(100)}, {0, kUnknown},
                                           {99, kUnknown}};
  for (const auto& [version, mbit_s] : cases) {
    FakeNvml nvml;
    nvml.gpus = {{address(0),
                  std::nullopt,
                  std::nullopt,
                  std::nullopt,
                  {{.peer = NvlinkPeer::kSwitch, .version = version}}}};
    Report report = host(1, 0);
    detect_gpus(nvml, report);
    ASSERT_THAT(nvlinks(report.graph), SizeIs(1)) << version;
    EXPECT_EQ(nvlinks(report.graph)[0].forward_mbit_s, mbit_s) << version;
  }
}

TEST(Nvml_LinksToTheCpu, LeadToTheNumaNode) {
  FakeNvml nvml;
  nvml.gpus = {{address(0),
                90,
                5,
                16,
                {{.peer = NvlinkPeer::kCpu, .address = "0000:99:00.0"}},
                {400'000, std::nullopt}}};
  Report report = host(1, 0);
  detect_gpus(nvml, report);
  const int32_t numa = *find_node(report.graph, "numa0");
  EXPECT_THAT(nvlinks(report.graph), ElementsAre(Field(&Link::to, numa)));
  std::vector<int64_t> c2c;
  for (const Link& link : report.graph.links)
    if (link.type == LinkType::kC2c) c2c.push_back(link.to == numa ? link.forward_mbit_s : -2);
  EXPECT_THAT(c2c, ElementsAre(400'000, 0));
}

TEST(Nvml_GpusThatHwlocLacks, AreAdded) {
  FakeNvml nvml;
  nvml.gpus = {{address(0), 80}, {"", 80}};
  Report report = host(0, 0);
  detect_gpus(nvml, report);
  const auto gpu = find_node(report.graph, "gpu:" + address(0));
  ASSERT_TRUE(gpu);
  EXPECT_EQ(report.graph.links.back().to, *gpu);
  EXPECT_EQ(report.graph.links.back().forward_mbit_s, pcie_mbit_s(3, 16));
  EXPECT_THAT(report.notes, ElementsAre(Field(&Note::text, HasSubstr("GPU 1 is left out"))));
}

TEST(Nvml_NoDriver, IsANoteAndNoError) {
  FakeNvml nvml = dgx_1v();
  nvml.why_not = "NVML can't start: Driver Not Loaded";
  Report report = host(8, 0);
  detect_gpus(nvml, report);
  EXPECT_EQ(report.graph, host(8, 0).graph);
  EXPECT_THAT(report.notes, ElementsAre(Field(&Note::source, "gpu"),  // still true
                                        Field(&Note::text, HasSubstr("Driver Not Loaded"))));
}

TEST(Nvml_NoGpu, IsANote) {
  FakeNvml nvml;
  Report report = host(0, 0);
  detect_gpus(nvml, report);
  EXPECT_THAT(report.notes, Contains(Field(&Note::text, HasSubstr("no GPU"))));
}

TEST(NvmlLibrary_Missing, SaysWhy) {
  const auto nvml = open_nvml("libno-such-library.so.1");
  EXPECT_THAT(nvml->reason(), HasSubstr("libno-such-library.so.1"));
  EXPECT_EQ(nvml->device_count(), 0);
}

TEST(NvmlLibrary_NotNvml, SaysWhatItLacks) {
  EXPECT_THAT(open_nvml("libc.so.6")->reason(), HasSubstr("nvmlInit_v2"));
}

TEST(NvmlLibrary_StandIn, IsAskedInItsAbi) {
  const auto nvml = open_nvml(NVML_STAND_IN);
  EXPECT_EQ(nvml->reason(), "");
  ASSERT_EQ(nvml->device_count(), 3);
  EXPECT_EQ(nvml->pci_address(0), "0000:1b:00.0");
  EXPECT_EQ(nvml->pci_address(1), "0001:1c:1f.0");
  EXPECT_EQ(nvml->name(0), "NVIDIA Stand-In 0");
  EXPECT_EQ(nvml->uuid(1), "GPU-stand-in-1");
  EXPECT_EQ(nvml->compute_capability(0), 90);
  EXPECT_EQ(nvml->max_pcie_generation(0), 5);
  EXPECT_EQ(nvml->pcie_lanes(0), 16);
  EXPECT_EQ(nvml->nvlink_active(0, 0), true);
  EXPECT_EQ(nvml->nvlink_active(0, 1), false);
  EXPECT_EQ(nvml->nvlink_active(0, 2), std::nullopt);
  EXPECT_EQ(nvml->nvlink_version(0, 0), 6);
  EXPECT_EQ(nvml->nvlink_peer(0, 0), NvlinkPeer::kGpu);
  EXPECT_EQ(nvml->nvlink_peer(0, 1), NvlinkPeer::kUnknown);
  EXPECT_EQ(nvml->nvlink_peer(1, 1), NvlinkPeer::kSwitch);
  EXPECT_EQ(nvml->nvlink_peer_address(0, 0), "0001:1c:1f.0");
  EXPECT_EQ(nvml->c2c_links(0), 2);
  EXPECT_EQ(nvml->c2c_mbit_s(0, 0), 45'000 * 8);
  EXPECT_EQ(nvml->c2c_mbit_s(0, 1), std::nullopt);  // inactive
  EXPECT_EQ(nvml->c2c_links(1), std::nullopt);
  // The third can't be opened: it answers nothing.
  EXPECT_EQ(nvml->pci_address(2), "");
  EXPECT_EQ(nvml->compute_capability(2), std::nullopt);
}

}  // namespace
}  // namespace tutti::topology
