// SPDX-License-Identifier: Apache-2.0
// gpu, nvlink, xgmi, c2c and pcilink elements.
#include "topology/formats/nccl_gpu_links.h"

#include <algorithm>

#include <spdlog/fmt/fmt.h>

#include "topology/formats/nccl_document.h"
#include "topology/formats/nccl_tables.h"

namespace tutti::topology::nccl {
namespace {

constexpr int64_t kMbitPerMegabyte = 8;

bool is_gpu_link(const Link& link) {
  return link.type == LinkType::kNvLink || link.type == LinkType::kXgmi;
}
int32_t other_end(const Link& link, int32_t end) { return link.from == end ? link.to : link.from; }

void set(pugi::xml_node at, const char* name, int64_t value) {
  at.append_attribute(name).set_value(static_cast<long long>(value));
}
void set(pugi::xml_node at, const char* name, const std::string& value) {
  at.append_attribute(name).set_value(value.c_str());
}

// As many elements as it takes.
template <typename Fill>
void write_counted(pugi::xml_node parent, const char* name, int64_t count, Fill fill) {
  for (; count > 0; count -= kMaxCount) {
    pugi::xml_node element = parent.append_child(name);
    fill(element);
    set(element, "count", std::min(count, kMaxCount));
  }
}

}  // namespace

GpuLinks::GpuLinks(const Graph& graph)
    : graph_(graph), links_of_(graph.nodes.size()), rank_of_(graph.nodes.size(), -1) {
  int32_t rank = 0;
  for (const int32_t gpu : nodes_of_kind(graph, NodeKind::kGpu)) {
    rank_of_[gpu] = rank++;
    const std::string& arch = node(gpu).attributes.arch;
    rccl_ = rccl_ || (!arch.empty() && !compute_capability(arch));
  }
  for (size_t i = 0; i < graph.links.size(); ++i) {
    const Link& link = graph.links[i];
    links_of_[link.from].push_back(i);
    links_of_[link.to].push_back(i);
    rccl_ = rccl_ || link.type == LinkType::kXgmi;
    const int64_t mbit_s = std::min(link.forward_mbit_s, link.reverse_mbit_s);
    if (!is_gpu_link(link) || mbit_s <= 0) continue;
    const auto [slowest, fresh] = slowest_.try_emplace(link.type, mbit_s);
    slowest->second = std::min(slowest->second, mbit_s);
  }
}

bool GpuLinks::uses(int32_t nvswitch) const {
  return std::any_of(links_of_[nvswitch].begin(), links_of_[nvswitch].end(),
                     [this](size_t i) { return is_gpu_link(graph_.links[i]); });
}

std::vector<int32_t> GpuLinks::pcie_neighbours(int32_t node) const {
  std::vector<int32_t> found;
  for (const size_t i : links_of_[node])
    if (graph_.links[i].type == LinkType::kPcie) found.push_back(other_end(graph_.links[i], node));
  return found;
}

// The nearest ancestor of the kind; -1: none.
int32_t GpuLinks::above(int32_t index, NodeKind kind) const {
  while (index >= 0 && node(index).kind != kind) index = node(index).parent;
  return index;
}

bool GpuLinks::is_own_numa(int32_t gpu, int32_t other) const {
  const int32_t numa = above(gpu, NodeKind::kNuma);
  return node(gpu).kind == NodeKind::kGpu && node(other).kind == NodeKind::kNuma &&
         (numa == other || numa < 0);
}

// Whether a link element of the GPU can name the other.
bool GpuLinks::is_target(int32_t gpu, int32_t other) const {
  if (node(gpu).kind != NodeKind::kGpu) return false;
  if (node(other).kind == NodeKind::kNvSwitch || is_own_numa(gpu, other)) return true;
  return node(other).kind == NodeKind::kGpu &&
         above(gpu, NodeKind::kMachine) == above(other, NodeKind::kMachine);
}

// Switches of one machine, neither in the other.
bool GpuLinks::is_beside(int32_t a, int32_t b) const {
  return node(a).kind == NodeKind::kPciSwitch && node(b).kind == NodeKind::kPciSwitch &&
         node(a).parent != b && node(b).parent != a &&
         above(a, NodeKind::kMachine) == above(b, NodeKind::kMachine);
}

int64_t GpuLinks::count(LinkType type, int32_t gpu, int32_t other, const Bundle& bundle) const {
  if (bundle.exact || bundle.mbit_s == 0) return bundle.links;
  bool known = false;
  gpu_link_mbit_s(type, node(gpu).attributes.arch, &known);
  const int64_t unit = known ? gpu_link_mbit_s(type, node(gpu), node(other)) : slowest_.at(type);
  return std::clamp<int64_t>((bundle.mbit_s + unit / 2) / unit, 1, kMaxCount);
}

void GpuLinks::write_bundles(int32_t gpu, const std::vector<std::string>& addresses,
                             pugi::xml_node at) {
  std::map<std::pair<int32_t, LinkType>, Bundle> bundles;
  for (const size_t i : links_of_[gpu]) {
    const Link& link = graph_.links[i];
    const int32_t other = other_end(link, gpu);
    if (!is_gpu_link(link) || !is_target(gpu, other)) continue;
    Bundle& bundle = bundles[{other, link.type}];
    const int64_t unit = gpu_link_mbit_s(link.type, node(gpu), node(other));
    const int64_t mbit_s = std::min(link.forward_mbit_s, link.reverse_mbit_s);
    ++bundle.links;
    bundle.mbit_s += std::max<int64_t>(mbit_s, 0);
    bundle.exact = bundle.exact && link.forward_mbit_s == unit && link.reverse_mbit_s == unit;
  }
  for (const auto& [key, bundle] : bundles) {
    const auto [other, type] = key;
    if (!bundle.exact) ++inexact_;
    const Target target = target_of(other, addresses);
    write_counted(at, type == LinkType::kXgmi ? "xgmi" : "nvlink", count(type, gpu, other, bundle),
                  [&target](pugi::xml_node link) {
                    set(link, "target", target.address);
                    set(link, "tclass", target.pci_class);
                  });
  }
}

GpuLinks::Target GpuLinks::target_of(int32_t other,
                                     const std::vector<std::string>& addresses) const {
  const Node& target = node(other);
  if (target.kind == NodeKind::kNvSwitch) return {kCollapsedNvSwitch, kNvSwitchClass};
  if (target.kind == NodeKind::kNuma) return {kCollapsedNvSwitch, kCpuClass};
  // A GPU whose PCI function says that it is a bridge would be read as an NVSwitch.
  const std::string& pci_class = target.attributes.pci_class;
  const bool names_it = pci_class.size() == 4 && pci_class != "0680";
  return {addresses[other], fmt::format("0x{}00", names_it ? pci_class : "0302")};
}

void GpuLinks::write_c2c(int32_t gpu, pugi::xml_node at) const {
  std::map<int64_t, int64_t> counts;  // by MB/s
  for (const size_t i : links_of_[gpu])
    if (graph_.links[i].type == LinkType::kC2c && !is_left_out(graph_.links[i]))
      ++counts[graph_.links[i].forward_mbit_s / kMbitPerMegabyte];
  for (const auto& [megabytes, count] : counts)
    write_counted(at, "c2c", count, [mb = megabytes](pugi::xml_node link) { set(link, "bw", mb); });
}

void GpuLinks::write_gpu(int32_t gpu, const std::vector<std::string>& addresses,
                         pugi::xml_node pci) {
  const Attributes& from = node(gpu).attributes;
  const bool linked = std::any_of(links_of_[gpu].begin(), links_of_[gpu].end(), [this](size_t i) {
    return graph_.links[i].type != LinkType::kPcie;
  });
  const bool plain =
      from.pci_class.empty() ||
      (is_display_class(from.pci_class) &&
       (from.pci_id.empty() || makes_gpus(std::string_view(from.pci_id).substr(0, 4))));
  if (plain && !linked && from.os_index == kUnknown && from.arch.empty()) return;
  pugi::xml_node element = pci.append_child("gpu");
  if (from.os_index != kUnknown) set(element, "dev", from.os_index);
  if (const auto capability = compute_capability(from.arch))
    set(element, "sm", *capability);
  else if (!from.arch.empty())
    set(element, "gcn", from.arch);
  set(element, "rank", rank_of_[gpu]);
  set(element, "gdr", 1);
  write_bundles(gpu, addresses, element);
  write_c2c(gpu, element);
}

void GpuLinks::write_pci_links(int32_t pci_switch, const std::vector<std::string>& addresses,
                               pugi::xml_node pci) {
  for (const int32_t other : pcie_neighbours(pci_switch))
    if (is_beside(pci_switch, other)) set(pci.append_child("pcilink"), "target", addresses[other]);
}

bool GpuLinks::is_left_out(const Link& link) const {
  const Node& a = node(link.from);
  const Node& b = node(link.to);
  const bool unknown = link.forward_mbit_s == kUnknown && link.reverse_mbit_s == kUnknown;
  switch (link.type) {
    case LinkType::kNvLink:
    case LinkType::kXgmi:
      return !is_target(link.from, link.to) && !is_target(link.to, link.from);
    case LinkType::kC2c:
      return !(is_own_numa(link.from, link.to) || is_own_numa(link.to, link.from)) ||
             link.forward_mbit_s != link.reverse_mbit_s || link.forward_mbit_s <= 0 ||
             link.forward_mbit_s % kMbitPerMegabyte != 0;
    case LinkType::kSmp:
      return a.kind != NodeKind::kNuma || b.kind != NodeKind::kNuma ||
             link.forward_mbit_s != inter_socket_mbit_s(a.attributes) ||
             link.reverse_mbit_s != inter_socket_mbit_s(b.attributes);
    case LinkType::kPcie:
      if (unknown && (a.kind == NodeKind::kNuma || b.kind == NodeKind::kNuma)) return false;
      return a.parent != link.to && b.parent != link.from &&
             !(unknown && is_beside(link.from, link.to));
    case LinkType::kMemory:
    case LinkType::kNetwork:
      return true;
  }
  return true;
}

void GpuLinks::count_left_out(std::map<std::string, int>* left_out) const {
  for (const Link& link : graph_.links)
    if (is_left_out(link)) ++(*left_out)[fmt::format("{} link", to_text(link.type))];
  if (inexact_ > 0) (*left_out)["exact bandwidth of a GPU's links"] += inexact_;
}

}  // namespace tutti::topology::nccl
