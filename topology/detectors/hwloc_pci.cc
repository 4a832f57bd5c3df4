// SPDX-License-Identifier: Apache-2.0
// The PCI part of the hwloc detector.
#include "topology/detectors/hwloc_pci.h"

#include <algorithm>
#include <cmath>
#include <string>
#include <utility>
#include <vector>

#include <spdlog/fmt/fmt.h>

#include "topology/detectors/system_files.h"

namespace tutti::topology {
namespace {

constexpr uint16_t kNvidia = 0x10de;
constexpr uint16_t kAmd = 0x1002;
constexpr uint16_t kIntel = 0x8086;

enum class Role : uint8_t { kIgnored, kSwitch, kGpu, kNic, kNvSwitch, kOtherDisplay };

bool has_os_device(hwloc_obj_t object, hwloc_obj_osdev_type_t type) {
  for (hwloc_obj_t child = object->io_first_child; child != nullptr; child = child->next_sibling)
    if (child->type == HWLOC_OBJ_OS_DEVICE && child->attr->osdev.type == type) return true;
  return false;
}

// By PCI class: 03xx display, 12xx processing accelerator, 02xx network, 0c06 InfiniBand, 0680
// other bridge.
Role role_of(hwloc_obj_t object) {
  if (object->type == HWLOC_OBJ_BRIDGE) return Role::kSwitch;
  if (object->type != HWLOC_OBJ_PCI_DEVICE) return Role::kIgnored;
  const auto& pci = object->attr->pcidev;
  const int base_class = pci.class_id >> 8;
  const bool gpu_vendor =
      pci.vendor_id == kNvidia || pci.vendor_id == kAmd || pci.vendor_id == kIntel;
  if (base_class == 0x03 || base_class == 0x12) {
    if (gpu_vendor) return Role::kGpu;
    return base_class == 0x03 ? Role::kOtherDisplay : Role::kIgnored;
  }
  if (pci.class_id == 0x0680 && pci.vendor_id == kNvidia) return Role::kNvSwitch;
  const bool network = base_class == 0x02 || pci.class_id == 0x0c06 ||
                       has_os_device(object, HWLOC_OBJ_OSDEV_NETWORK) ||
                       has_os_device(object, HWLOC_OBJ_OSDEV_OPENFABRICS);
  return network ? Role::kNic : Role::kIgnored;
}

// A bridge's link is the one towards the CPU. hwloc has GB/s, 0 for unknown.
int64_t link_mbit_s(hwloc_obj_t object) {
  const auto& pci =
      object->type == HWLOC_OBJ_BRIDGE ? object->attr->bridge.upstream.pci : object->attr->pcidev;
  return pci.linkspeed > 0 ? std::llround(static_cast<double>(pci.linkspeed) * kMbitPerGigabyte)
                           : kUnknown;
}

int64_t slower(int64_t a, int64_t b) {
  if (a == kUnknown || b == kUnknown) return std::max(a, b);
  return std::min(a, b);
}

std::string info_of(hwloc_obj_t object, const char* name) {
  const char* value = hwloc_obj_get_info_by_name(object, name);
  return value == nullptr ? "" : value;
}

Attributes pci_attributes(const hwloc_obj_attr_u::hwloc_pcidev_attr_s& pci) {
  Attributes attributes;
  attributes.pci_address =
      fmt::format("{:04x}:{:02x}:{:02x}.{:x}", pci.domain, pci.bus, pci.dev, pci.func);
  attributes.pci_class = fmt::format("{:04x}", pci.class_id);
  attributes.pci_id = fmt::format("{:04x}:{:04x}", pci.vendor_id, pci.device_id);
  return attributes;
}

class PciConverter {
 public:
  explicit PciConverter(const PciContext& context)
      : context_(context), graph_(context.report.graph) {}

  void add_host_bridge(hwloc_obj_t object, int32_t parent) {
    const std::vector<hwloc_obj_t> below = kept_children(object);
    if (below.empty()) return;
    const auto& downstream = object->attr->bridge.downstream.pci;
    const std::string place =
        fmt::format("{:04x}:{:02x}", downstream.domain, downstream.secondary_bus);
    const int32_t node = add_node(graph_, "host_bridge:" + place, NodeKind::kHostBridge, parent,
                                  {.pci_address = place});
    link_to_memory(object, node, place);
    for (hwloc_obj_t child : below) add_below(child, node, kUnknown);
  }

  void add_below(hwloc_obj_t object, int32_t parent, int64_t limit_mbit_s) {
    const int64_t mbit_s = slower(limit_mbit_s, link_mbit_s(object));
    const std::vector<hwloc_obj_t> below = kept_children(object);
    switch (role_of(object)) {
      case Role::kSwitch:
        if (below.size() == 1) return add_below(below[0], parent, mbit_s);
        return add_switch(object, below, parent, mbit_s);
      case Role::kGpu:
        return add_device(object, NodeKind::kGpu, "gpu", parent, mbit_s);
      case Role::kNvSwitch:
        return add_device(object, NodeKind::kNvSwitch, "nvswitch", parent, mbit_s);
      case Role::kNic:
        return add_nic(object, parent, mbit_s);
      case Role::kIgnored:
      case Role::kOtherDisplay:
        return;
    }
  }

 private:
  // Children that are or lead to something of interest.
  static std::vector<hwloc_obj_t> kept_children(hwloc_obj_t object) {
    std::vector<hwloc_obj_t> kept;
    for (hwloc_obj_t child = object->io_first_child; child != nullptr; child = child->next_sibling)
      if (is_kept(child)) kept.push_back(child);
    return kept;
  }

  static bool is_kept(hwloc_obj_t object) {
    const Role role = role_of(object);
    if (role == Role::kSwitch) return !kept_children(object).empty();
    return role != Role::kIgnored && role != Role::kOtherDisplay;
  }

  void add_switch(hwloc_obj_t object, const std::vector<hwloc_obj_t>& below, int32_t parent,
                  int64_t mbit_s) {
    Attributes attributes = pci_attributes(object->attr->bridge.upstream.pci);
    const std::string id = "pci_switch:" + attributes.pci_address;
    const int32_t node = add_node(graph_, id, NodeKind::kPciSwitch, parent, std::move(attributes));
    add_link(graph_, parent, node, LinkType::kPcie, mbit_s);
    for (hwloc_obj_t child : below) add_below(child, node, kUnknown);
  }

  void add_device(hwloc_obj_t object, NodeKind kind, const char* prefix, int32_t parent,
                  int64_t mbit_s) {
    Attributes attributes = pci_attributes(object->attr->pcidev);
    attributes.model = info_of(object, "PCIDevice");
    for (hwloc_obj_t child = object->io_first_child; child != nullptr;
         child = child->next_sibling) {
      if (child->type != HWLOC_OBJ_OS_DEVICE) continue;
      if (const std::string model = info_of(child, "GPUModel"); !model.empty())
        attributes.model = model;
      if (attributes.device.empty() && child->name != nullptr) attributes.device = child->name;
    }
    const std::string id = fmt::format("{}:{}", prefix, attributes.pci_address);
    const int32_t node = add_node(graph_, id, kind, parent, std::move(attributes));
    add_link(graph_, parent, node, LinkType::kPcie, mbit_s);
  }

  // One node per port. A port may have a network interface, a verbs device with a port number, or
  // both.
  void add_nic(hwloc_obj_t object, int32_t parent, int64_t mbit_s) {
    std::vector<std::string> interfaces;
    std::vector<std::pair<std::string, int>> verbs;
    std::string guid;
    for (hwloc_obj_t child = object->io_first_child; child != nullptr;
         child = child->next_sibling) {
      if (child->type != HWLOC_OBJ_OS_DEVICE || child->name == nullptr) continue;
      if (child->attr->osdev.type == HWLOC_OBJ_OSDEV_NETWORK) interfaces.emplace_back(child->name);
      if (child->attr->osdev.type != HWLOC_OBJ_OSDEV_OPENFABRICS) continue;
      guid = info_of(child, "NodeGUID");
      std::vector<int> ports = infiniband_ports(context_.files, child->name);
      if (ports.empty()) ports.push_back(1);
      for (const int port : ports) verbs.emplace_back(child->name, port);
    }
    std::sort(interfaces.begin(), interfaces.end());
    const size_t ports = std::max({interfaces.size(), verbs.size(), size_t{1}});
    for (size_t i = 0; i < ports; ++i) {
      Attributes attributes = pci_attributes(object->attr->pcidev);
      attributes.model = info_of(object, "PCIDevice");
      if (i < interfaces.size()) attributes.device = interfaces[i];
      if (i < verbs.size()) {
        attributes.verbs_device = verbs[i].first;
        attributes.port = verbs[i].second;
        attributes.guid = guid;
      }
      add_port(std::move(attributes), parent, mbit_s);
    }
  }

  void add_port(Attributes attributes, int32_t parent, int64_t mbit_s) {
    std::string name = attributes.device;
    if (name.empty() && !attributes.verbs_device.empty())
      name = fmt::format("{}:{}", attributes.verbs_device, attributes.port);
    Rate rate{kUnknown, "no driver has made a network interface of it"};
    if (!attributes.verbs_device.empty()) {
      rate = infiniband_rate(context_.files, attributes.verbs_device,
                             static_cast<int>(attributes.port));
    } else if (!attributes.device.empty()) {
      rate = ethernet_rate(context_.files, attributes.device);
    }
    if (name.empty()) name = attributes.pci_address;
    if (rate.mbit_s == kUnknown)
      context_.report.notes.push_back(
          {"sysfs", fmt::format("speed of NIC {} is unknown: {}", name, rate.reason)});
    attributes.speed_mbit_s = rate.mbit_s;
    const int32_t node =
        add_node(graph_, "nic:" + name, NodeKind::kNic, parent, std::move(attributes));
    add_link(graph_, parent, node, LinkType::kPcie, mbit_s);
  }

  // The NUMA nodes that the bridge is near to, as far as the firmware tells.
  void link_to_memory(hwloc_obj_t object, int32_t bridge, const std::string& place) {
    const hwloc_obj_t near = hwloc_get_non_io_ancestor_obj(context_.topology, object);
    std::vector<int32_t> numas;
    for (const int32_t numa : nodes_of_kind(graph_, NodeKind::kNuma))
      if (hwloc_bitmap_isset(near->nodeset,
                             static_cast<unsigned>(graph_.nodes[numa].attributes.os_index)) != 0)
        numas.push_back(numa);
    for (const int32_t numa : numas) add_link(graph_, numa, bridge, LinkType::kPcie);
    if (near->type == HWLOC_OBJ_MACHINE && numas.size() > 1)
      context_.report.notes.push_back(
          {"hwloc",
           fmt::format("which NUMA node PCI {} is near to is unknown; it is linked to all {}",
                       place, numas.size())});
  }

  const PciContext& context_;
  Graph& graph_;
};

void note_other_displays(const PciContext& context, hwloc_obj_t object) {
  if (role_of(object) == Role::kOtherDisplay) {
    const Attributes attributes = pci_attributes(object->attr->pcidev);
    context.report.notes.push_back(
        {"hwloc", fmt::format("display controller {} ({}) is left out: not from a maker of GPUs",
                              attributes.pci_address, attributes.pci_id)});
  }
  for (hwloc_obj_t child = object->io_first_child; child != nullptr; child = child->next_sibling)
    note_other_displays(context, child);
}

}  // namespace

void add_pci(const PciContext& context, hwloc_obj_t object, int32_t parent) {
  note_other_displays(context, object);
  PciConverter converter(context);
  const bool host_bridge = object->type == HWLOC_OBJ_BRIDGE &&
                           object->attr->bridge.upstream_type == HWLOC_OBJ_BRIDGE_HOST;
  if (host_bridge) {
    converter.add_host_bridge(object, parent);
  } else if (object->type != HWLOC_OBJ_OS_DEVICE) {
    converter.add_below(object, parent, kUnknown);
  }
}

}  // namespace tutti::topology
