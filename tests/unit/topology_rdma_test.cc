// SPDX-License-Identifier: Apache-2.0
// RDMA devices of a recorded host, and the NICs of a graph that they are.
#include <algorithm>
#include <filesystem>
#include <fstream>
#include <string>

#include "tests/unit/topology_support.h"
#include "topology/detectors/machine.h"
#include "topology/detectors/rdma_sysfs.h"
#include "topology/link_rates.h"

namespace tutti::topology {
namespace {

using ::testing::ElementsAre;
using ::testing::Field;
using ::testing::HasSubstr;
using ::testing::IsEmpty;

const SystemFiles kNode8{fixture_path("node8")};

TEST(RdmaSysfs_Node8, IsReadInFull) {
  const std::vector<RdmaDevice> devices = read_rdma_devices(kNode8);
  ASSERT_THAT(devices,
              ElementsAre(Field(&RdmaDevice::name, "broken0"), Field(&RdmaDevice::name, "mlx4_0"),
                          Field(&RdmaDevice::name, "mlx5_0"), Field(&RdmaDevice::name, "mlx5_1"),
                          Field(&RdmaDevice::name, "rxe0"), Field(&RdmaDevice::name, "siw0")));
  const RdmaDevice& roce = devices[3];
  EXPECT_EQ(roce.node_guid, "0c42:a103:000b:0000");
  EXPECT_THAT(roce.pci_path, ElementsAre("0000:40", "0000:40:01.0", "0000:42:00.0"));
  EXPECT_EQ(roce.pci_address(), "0000:42:00.0");
  EXPECT_EQ(roce.numa_node, 0);
  ASSERT_EQ(roce.ports.size(), 1U);
  EXPECT_EQ(roce.ports[0].state, "ACTIVE");
  EXPECT_EQ(roce.ports[0].link_layer, "Ethernet");
  EXPECT_EQ(roce.ports[0].rate.mbit_s, 100'000);
  const std::string local = "fe80:0000:0000:0000:0e42:a1ff:fe0b:0000";
  EXPECT_THAT(
      roce.ports[0].gids,
      ElementsAre(RdmaGid{0, local, "IB/RoCE v1", "eth1"}, RdmaGid{1, local, "RoCE v2", "eth1"},
                  RdmaGid{3, "0000:0000:0000:0000:0000:ffff:0a00:0008", "RoCE v2", "eth1"}));
  EXPECT_EQ(devices[4].interface, "eth5");
  EXPECT_THAT(devices[4].pci_path, IsEmpty());
}

// The number of SDR to FDR is a signalling rate; that of RoCE is a data rate.
TEST(RdmaSysfs_Rates, AreDataRates) {
  EXPECT_EQ(infiniband_rate(kNode8, "mlx5_0", 1).mbit_s, 54'545);
  EXPECT_EQ(infiniband_rate(kNode8, "mlx4_0", 1).mbit_s, 32'000);
  EXPECT_EQ(infiniband_rate(kNode8, "mlx5_1", 1).mbit_s, 100'000);
  EXPECT_EQ(infiniband_rate(kNode8, "rxe0", 1).mbit_s, 2'500);
}

TEST(RdmaSysfs_LongGidTable, IsReadUpToItsLimit) {
  const std::filesystem::path root =
      std::filesystem::path(::testing::TempDir()) / "rdma_sysfs_long_gid_table";
  const std::filesystem::path gids = root / "sys/class/infiniband/mlx5_0/ports/1/gids";
  std::filesystem::create_directories(gids);
  for (int i = 0; i < 40; ++i) std::ofstream(gids / std::to_string(i)) << "fe80::" << i << "\n";
  std::ofstream(gids / "not-a-number") << "fe80::\n";
  const std::vector<RdmaDevice> devices = read_rdma_devices({root});
  std::filesystem::remove_all(root);
  ASSERT_EQ(devices.size(), 1U);
  ASSERT_EQ(devices[0].ports.size(), 1U);
  ASSERT_EQ(devices[0].ports[0].gids.size(), kMaxGids);
  for (size_t i = 0; i < kMaxGids; ++i)
    EXPECT_EQ(devices[0].ports[0].gids[i].index, static_cast<int>(i));
}

// What hwloc may know of node8: everything on the first host bridge, nothing on the second.
Report host() {
  Report report;
  Graph& graph = report.graph;
  add_node(graph, "node8", NodeKind::kMachine, -1);
  const int32_t numa0 = add_node(graph, "numa0", NodeKind::kNuma, 0, {.os_index = 0});
  add_node(graph, "numa1", NodeKind::kNuma, 0, {.os_index = 1});
  const int32_t bridge =
      add_node(graph, "host_bridge:0000:40", NodeKind::kHostBridge, 0, {.pci_address = "0000:40"});
  const int32_t pci_switch = add_node(graph, "pci_switch:0000:40:01.0", NodeKind::kPciSwitch,
                                      bridge, {.pci_address = "0000:40:01.0"});
  add_node(graph, "nic:eth0", NodeKind::kNic, pci_switch,
           {.pci_address = "0000:42:00.0", .device = "eth0"});
  add_node(graph, "nic:eth1", NodeKind::kNic, pci_switch,
           {.pci_address = "0000:42:00.0", .device = "eth1"});
  add_node(graph, "nic:eth5", NodeKind::kNic, bridge, {.device = "eth5", .speed_mbit_s = 10'000});
  add_link(graph, numa0, bridge, LinkType::kPcie);
  return report;
}

const Node& node_of(const Report& report, const std::string& id) {
  const auto found = find_node(report.graph, id);
  EXPECT_TRUE(found) << id;
  return report.graph.nodes[found.value_or(0)];
}

TEST(RdmaSysfs_Merge, FindsTheNicOfEachPort) {
  Report report = host();
  add_rdma_devices(kNode8, report);
  validate(report.graph);
  const Attributes& roce = node_of(report, "nic:eth1").attributes;  // by its GIDs, not eth0
  EXPECT_EQ(roce.verbs_device, "mlx5_1");
  EXPECT_EQ(roce.port, 1);
  EXPECT_EQ(roce.guid, "0c42:a103:000b:0000");
  EXPECT_EQ(roce.speed_mbit_s, 100'000);
  EXPECT_EQ(node_of(report, "nic:eth0").attributes.verbs_device, "");
  const Attributes& software = node_of(report, "nic:eth5").attributes;
  EXPECT_EQ(software.verbs_device, "rxe0");
  EXPECT_FALSE(find_node(report.graph, "nic:siw0:1"));
}

TEST(RdmaSysfs_Merge, PlacesUnknownDevicesOnPci) {
  Report report = host();
  add_rdma_devices(kNode8, report);
  const Node& known_bridge = node_of(report, "nic:mlx5_0:1");
  EXPECT_EQ(report.graph.nodes[known_bridge.parent].id, "pci_switch:0000:40:01.0");
  EXPECT_EQ(known_bridge.attributes.pci_address, "0000:41:00.0");
  EXPECT_EQ(known_bridge.attributes.speed_mbit_s, 54'545);
  EXPECT_EQ(report.graph.nodes[node_of(report, "nic:mlx4_0:1").parent].id, "numa1");
  const int32_t nic = *find_node(report.graph, "nic:mlx5_0:1");
  for (const Link& link : report.graph.links) {
    if (link.to == nic) {
      EXPECT_EQ(link.forward_mbit_s, pcie_mbit_s(4, 16));
    }
  }
}

TEST(RdmaSysfs_Merge, NotesWhatIsOfNoUse) {
  Report report = host();
  add_rdma_devices(kNode8, report);
  EXPECT_EQ(node_of(report, "nic:mlx4_0:2").attributes.speed_mbit_s, kUnknown);
  EXPECT_THAT(report.notes,
              ElementsAre(Field(&Note::text, "device broken0 is left out: it has no ports"),
                          Field(&Note::text, "port mlx4_0:2 is DOWN: its speed is unknown"),
                          Field(&Note::text, HasSubstr("port rxe0:1 has no RoCE v2 GID")),
                          Field(&Note::text, HasSubstr("port siw0:1 is left out"))));
}

TEST(RdmaSysfs_Twice, ChangesNothing) {
  Report once = host();
  add_rdma_devices(kNode8, once);
  Report twice = once;
  add_rdma_devices(kNode8, twice);
  EXPECT_EQ(twice.graph, once.graph);
}

TEST(RdmaSysfs_NothingThere, IsNoted) {
  for (const SystemFiles& files : {SystemFiles{""}, SystemFiles{fixture_path("no-such-host")}}) {
    Report report = host();
    add_rdma_devices(files, report);
    EXPECT_EQ(report.graph, host().graph);
    EXPECT_THAT(report.notes, ElementsAre(Field(&Note::text, HasSubstr("no RDMA devices"))));
  }
}

// Each detector has found something or says why not.
TEST(DetectMachine_ThisMachine, LeavesNoDetectorUnmentioned) {
  const Report report = detect_machine();
  const auto said = [&report](const char* source) {
    return std::any_of(report.notes.begin(), report.notes.end(),
                       [source](const Note& note) { return note.source == source; });
  };
  const auto found = [&report](NodeKind kind, std::string Attributes::*field) {
    const std::vector<int32_t> nodes = nodes_of_kind(report.graph, kind);
    return std::any_of(nodes.begin(), nodes.end(), [&](int32_t node) {
      return !(report.graph.nodes[node].attributes.*field).empty();
    });
  };
  EXPECT_TRUE(said("rdma") || found(NodeKind::kNic, &Attributes::verbs_device));
  EXPECT_TRUE(said("nvml") || found(NodeKind::kGpu, &Attributes::guid));
}

}  // namespace
}  // namespace tutti::topology
