// SPDX-License-Identifier: Apache-2.0
// Reads /sys/class/infiniband and finds the NIC of each port in a graph.
#include "topology/detectors/rdma_sysfs.h"

#include <algorithm>
#include <charconv>
#include <optional>
#include <utility>

#include <spdlog/fmt/fmt.h>

#include "topology/link_rates.h"

namespace tutti::topology {
namespace {

constexpr const char* kSource = "rdma";
constexpr const char* kClass = "sys/class/infiniband";

std::string line_or_empty(const SystemFiles& files, const std::string& path) {
  return first_line(files, path).value_or("");
}

std::optional<int> whole_number(const std::string& text) {
  int value = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
  if (error != std::errc{} || end != text.data() + text.size()) return std::nullopt;
  return value;
}

// "0000:41:00.0", lower-case.
bool is_pci_address(const std::string& text) {
  constexpr std::string_view kShape = "hhhh:hh:hh.h";
  const auto fits = [](char c, char shape) {
    return shape == 'h' ? (c >= '0' && c <= '9') || (c >= 'a' && c <= 'f') : c == shape;
  };
  return text.size() == kShape.size() && std::equal(text.begin(), text.end(), kShape.begin(), fits);
}

// Of ".../devices/pci0000:40/0000:40:01.0/0000:41:00.0".
std::vector<std::string> pci_path_of(const std::string& target) {
  constexpr std::string_view kRoot = "pci";
  std::vector<std::string> path;
  for (size_t at = 0; at < target.size();) {
    const size_t end = std::min(target.find('/', at), target.size());
    const std::string part = target.substr(at, end - at);
    if (part.starts_with(kRoot) && is_pci_address(part.substr(kRoot.size()) + ":00.0"))
      path = {part.substr(kRoot.size())};
    if (is_pci_address(part)) path.push_back(part);
    at = end + 1;
  }
  return path;
}

std::vector<RdmaGid> read_gids(const SystemFiles& files, const std::string& port) {
  std::vector<int> indexes;
  for (const std::string& name : names_in(files, port + "/gids"))
    if (const auto index = whole_number(name)) indexes.push_back(*index);
  std::sort(indexes.begin(), indexes.end());
  std::vector<RdmaGid> gids;
  for (const int index : indexes) {
    if (gids.size() == kMaxGids) break;
    const std::string gid = line_or_empty(files, fmt::format("{}/gids/{}", port, index));
    if (gid.find_first_not_of("0:") == std::string::npos) continue;  // an unused entry
    gids.push_back({index, gid,
                    line_or_empty(files, fmt::format("{}/gid_attrs/types/{}", port, index)),
                    line_or_empty(files, fmt::format("{}/gid_attrs/ndevs/{}", port, index))});
  }
  return gids;
}

RdmaPort read_port(const SystemFiles& files, const std::string& device, int number) {
  const std::string port = fmt::format("{}/{}/ports/{}", kClass, device, number);
  const std::string state = line_or_empty(files, port + "/state");  // "4: ACTIVE"
  const size_t name = state.find(": ");
  return {number, name == std::string::npos ? state : state.substr(name + 2),
          line_or_empty(files, port + "/link_layer"), infiniband_rate(files, device, number),
          read_gids(files, port)};
}

RdmaDevice read_device(const SystemFiles& files, const std::string& name) {
  const std::string folder = std::string(kClass) + '/' + name;
  RdmaDevice device{.name = name};
  device.node_guid = line_or_empty(files, folder + "/node_guid");
  device.pci_path = pci_path_of(link_target(files, folder + "/device"));
  const auto numa = whole_number(line_or_empty(files, folder + "/device/numa_node"));
  if (numa && *numa >= 0) device.numa_node = *numa;  // -1: the firmware does not tell
  device.interface = line_or_empty(files, folder + "/parent");
  for (const int port : infiniband_ports(files, name))
    device.ports.push_back(read_port(files, name, port));
  return device;
}

int64_t pcie_capacity(const SystemFiles& files, const RdmaDevice& device) {
  constexpr std::string_view kSpeeds[] = {"2.5", "5", "8", "16", "32", "64"};  // GT/s by generation
  const std::string folder = fmt::format("{}/{}/device/", kClass, device.name);
  const std::string speed =
      line_or_empty(files, folder + "current_link_speed");  // "16.0 GT/s PCIe"
  const auto width = whole_number(line_or_empty(files, folder + "current_link_width"));
  std::string number = speed.substr(0, speed.find(' '));
  if (number.ends_with(".0")) number.resize(number.size() - 2);
  const auto* const found = std::find(std::begin(kSpeeds), std::end(kSpeeds), number);
  if (found == std::end(kSpeeds) || !width) return kUnknown;
  return pcie_mbit_s(found - std::begin(kSpeeds) + 1, *width);
}

class Merger {
 public:
  Merger(const SystemFiles& files, Report& report) : files_(files), report_(report) {}

  void add(const RdmaDevice& device) {
    for (const RdmaPort& port : device.ports) {
      std::optional<int32_t> nic = find_nic(device, port);
      if (!nic && !device.pci_path.empty()) nic = add_nic(device, port);
      if (nic)
        fill(report_.graph.nodes[*nic].attributes, device, port);
      else
        note(device, port, "is left out: no NIC of this machine is known to be behind it");
    }
    if (device.ports.empty())
      report_.notes.push_back(
          {kSource, fmt::format("device {} is left out: it has no ports", device.name)});
  }

 private:
  template <typename Condition>
  std::optional<int32_t> first_nic(Condition condition) const {
    for (const int32_t nic : nodes_of_kind(report_.graph, NodeKind::kNic))
      if (condition(report_.graph.nodes[nic].attributes)) return nic;
    return std::nullopt;
  }

  // By what the report says already; else a NIC of the device that is nobody's port yet, by its
  // interface where the port's GIDs tell one.
  std::optional<int32_t> find_nic(const RdmaDevice& device, const RdmaPort& port) const {
    const std::string address = device.pci_address();
    const auto is_port = [&](const Attributes& nic) {
      return nic.verbs_device == device.name && nic.port == port.number;
    };
    const auto is_free = [&](const Attributes& nic) {
      return nic.verbs_device.empty() &&
             (address.empty() ? nic.device == device.interface : nic.pci_address == address);
    };
    const auto has_interface = [&](const Attributes& nic) {
      return is_free(nic) &&
             std::any_of(port.gids.begin(), port.gids.end(), [&nic](const RdmaGid& gid) {
               return !nic.device.empty() && gid.interface == nic.device;
             });
    };
    if (const auto nic = first_nic(is_port)) return nic;
    if (address.empty() && device.interface.empty()) return std::nullopt;
    if (const auto nic = first_nic(has_interface)) return nic;
    return first_nic(is_free);
  }

  // The deepest bridge above the device that is in the graph, else its NUMA node, else the machine.
  int32_t parent_of(const RdmaDevice& device) const {
    const std::vector<Node>& nodes = report_.graph.nodes;
    for (auto bridge = device.pci_path.rbegin() + 1; bridge < device.pci_path.rend(); ++bridge)
      for (size_t i = 0; i < nodes.size(); ++i)
        if (nodes[i].attributes.pci_address == *bridge &&
            (nodes[i].kind == NodeKind::kPciSwitch || nodes[i].kind == NodeKind::kHostBridge))
          return static_cast<int32_t>(i);
    for (const int32_t numa : nodes_of_kind(report_.graph, NodeKind::kNuma))
      if (device.numa_node != kUnknown && nodes[numa].attributes.os_index == device.numa_node)
        return numa;
    return 0;
  }

  std::optional<int32_t> add_nic(const RdmaDevice& device, const RdmaPort& port) {
    const std::string id = fmt::format("nic:{}:{}", device.name, port.number);
    if (find_node(report_.graph, id)) return std::nullopt;
    const int32_t parent = parent_of(device);
    const int32_t nic =
        add_node(report_.graph, id, NodeKind::kNic, parent, {.pci_address = device.pci_address()});
    if (parent == 0)
      note(device, port, "is linked to nothing: its place on PCI and its NUMA node are unknown");
    else
      add_link(report_.graph, parent, nic, LinkType::kPcie, pcie_capacity(files_, device));
    return nic;
  }

  void fill(Attributes& nic, const RdmaDevice& device, const RdmaPort& port) {
    nic.verbs_device = device.name;
    nic.port = port.number;
    if (nic.guid.empty()) nic.guid = device.node_guid;
    const bool down = !port.state.empty() && port.state != "ACTIVE";
    if (down) {
      nic.speed_mbit_s = kUnknown;
      return note(device, port, fmt::format("is {}: its speed is unknown", port.state));
    }
    if (port.rate.mbit_s != kUnknown) nic.speed_mbit_s = port.rate.mbit_s;
    const bool version_2 = std::any_of(port.gids.begin(), port.gids.end(),
                                       [](const RdmaGid& gid) { return gid.type == "RoCE v2"; });
    if (port.link_layer == "Ethernet" && !version_2)
      note(device, port, "has no RoCE v2 GID: packets of RoCE v1 pass no router");
  }

  void note(const RdmaDevice& device, const RdmaPort& port, std::string_view text) {
    report_.notes.push_back(
        {kSource, fmt::format("port {}:{} {}", device.name, port.number, text)});
  }

  const SystemFiles& files_;
  Report& report_;
};

}  // namespace

std::vector<RdmaDevice> read_rdma_devices(const SystemFiles& files) {
  std::vector<RdmaDevice> devices;
  for (const std::string& name : names_in(files, kClass))
    devices.push_back(read_device(files, name));
  return devices;
}

void add_rdma_devices(const SystemFiles& files, Report& report) {
  const std::vector<RdmaDevice> devices = read_rdma_devices(files);
  if (devices.empty())
    report.notes.push_back(
        {kSource, fmt::format("no RDMA devices: /{} is empty or absent", kClass)});
  Merger merger(files, report);
  for (const RdmaDevice& device : devices) merger.add(device);
}

}  // namespace tutti::topology
