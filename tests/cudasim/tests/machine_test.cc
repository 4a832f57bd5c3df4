// SPDX-License-Identifier: Apache-2.0
// What the simulated NVML and sysfs say of a machine is what its NCCL XML says.
#include "topology/detectors/machine.h"

#include <unistd.h>

#include <algorithm>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <map>
#include <set>
#include <string>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "tests/cudasim/tool/sysfs.h"
#include "topology/detectors/nvml.h"
#include "topology/formats/nccl_xml.h"

namespace cudasim {
namespace {

using tutti::topology::Graph;
using tutti::topology::Link;
using tutti::topology::LinkType;
using tutti::topology::Node;
using tutti::topology::NodeKind;
using tutti::topology::Report;

std::string file_text(const std::string& path) {
  std::ifstream file(path);
  return {std::istreambuf_iterator<char>(file), std::istreambuf_iterator<char>()};
}

class Folder {
 public:
  Folder() {
    std::string pattern = std::filesystem::temp_directory_path() / "cudasim-XXXXXX";
    path_ = mkdtemp(pattern.data());
  }
  ~Folder() { std::filesystem::remove_all(path_); }
  Folder(const Folder&) = delete;
  Folder& operator=(const Folder&) = delete;
  const std::string& path() const { return path_; }

 private:
  std::string path_;
};

// Devices by their PCI addresses, memory by its number.
std::string name_of(const Graph& graph, int32_t node) {
  const Node& known = graph.nodes[node];
  if (known.kind == NodeKind::kNuma) return "numa" + std::to_string(known.attributes.os_index);
  if (known.kind == NodeKind::kNvSwitch) return "nvswitch";
  return std::string(to_text(known.kind)) + " " + known.attributes.pci_address;
}

using Rates = std::multiset<int64_t>;
std::map<std::pair<std::string, std::string>, Rates> links_of(const Graph& graph, LinkType type) {
  std::map<std::pair<std::string, std::string>, Rates> links;
  for (const Link& link : graph.links)
    if (link.type == type)
      links[std::minmax(name_of(graph, link.from), name_of(graph, link.to))].insert(
          link.forward_mbit_s);
  return links;
}

struct Device {
  std::string arch;
  int64_t os_index;
  int64_t speed_mbit_s;
  std::string verbs_device;
  bool operator==(const Device&) const = default;
};
std::map<std::string, Device> devices_of(const Graph& graph, NodeKind kind) {
  std::map<std::string, Device> devices;
  for (const int32_t node : nodes_of_kind(graph, kind)) {
    const auto& known = graph.nodes[node].attributes;
    devices[name_of(graph, node)] = {known.arch, kind == NodeKind::kGpu ? known.os_index : 0,
                                     known.speed_mbit_s, known.verbs_device};
  }
  return devices;
}

TEST(CudasimMachine_DgxH100, HasTheGraphOfItsNcclXml) {
  const std::string xml = DGX_H100_XML;
  const Folder folder;
  setenv("CUDASIM_TOPOLOGY", xml.c_str(), 1);        // NOLINT(concurrency-mt-unsafe)
  setenv("HWLOC_FSROOT", folder.path().c_str(), 1);  // NOLINT(concurrency-mt-unsafe)
  setenv("HWLOC_THISSYSTEM", "0", 1);                // NOLINT(concurrency-mt-unsafe)
  write_sysfs(machine(), folder.path());
  const Graph wanted = tutti::topology::read_nccl_xml(file_text(xml), xml).graph;

  // NVML is what the loader finds: the simulator's, by LD_LIBRARY_PATH.
  const Report detected = tutti::topology::detect_machine({folder.path()});
  // What only one of the two can say (cores, host bridges) falls away on the way through the
  // format.
  const Graph got =
      tutti::topology::read_nccl_xml(tutti::topology::write_nccl_xml(detected), "detected").graph;

  for (const NodeKind kind : {NodeKind::kGpu, NodeKind::kNic, NodeKind::kPciSwitch})
    EXPECT_EQ(devices_of(wanted, kind).size(), 8U);
  EXPECT_EQ(links_of(wanted, LinkType::kPcie).size(), 24U);
  EXPECT_EQ(devices_of(got, NodeKind::kGpu), devices_of(wanted, NodeKind::kGpu));
  EXPECT_EQ(devices_of(got, NodeKind::kNic), devices_of(wanted, NodeKind::kNic));
  EXPECT_EQ(devices_of(got, NodeKind::kPciSwitch), devices_of(wanted, NodeKind::kPciSwitch));
  EXPECT_EQ(devices_of(got, NodeKind::kNuma).size(), 2U);
  EXPECT_EQ(links_of(got, LinkType::kNvLink), links_of(wanted, LinkType::kNvLink));
  EXPECT_EQ(links_of(got, LinkType::kPcie), links_of(wanted, LinkType::kPcie));
  EXPECT_EQ(links_of(wanted, LinkType::kNvLink).size(), 8U);  // each GPU to the switch
  const auto nvswitch = [](const Graph& graph) {
    return graph.nodes[nodes_of_kind(graph, NodeKind::kNvSwitch).at(0)].attributes;
  };
  EXPECT_TRUE(nvswitch(got).multicasts && nvswitch(wanted).multicasts);
}

TEST(CudasimMachine_Nvml, TellsWhatTheMachineHas) {
  const auto nvml = tutti::topology::open_nvml();
  ASSERT_EQ(nvml->reason(), "");
  ASSERT_EQ(nvml->device_count(), 8);
  EXPECT_EQ(nvml->pci_address(3), "0000:61:00.0");
  EXPECT_EQ(nvml->compute_capability(3), 90);
  EXPECT_EQ(nvml->nvlink_active(3, 17), true);
  EXPECT_EQ(nvml->nvlink_active(3, 18), std::nullopt);
  EXPECT_EQ(nvml->nvlink_peer(3, 0), tutti::topology::NvlinkPeer::kSwitch);
}

}  // namespace
}  // namespace cudasim
