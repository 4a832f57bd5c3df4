// SPDX-License-Identifier: Apache-2.0
// Writes the machines of a graph as NCCL XML.
#include <algorithm>
#include <map>
#include <set>
#include <sstream>
#include <string_view>
#include <utility>
#include <vector>

#include <pugixml.hpp>
#include <spdlog/fmt/fmt.h>

#include "src/base/error.h"
#include "topology/formats/nccl_document.h"
#include "topology/formats/nccl_gpu_links.h"
#include "topology/formats/nccl_tables.h"
#include "topology/formats/nccl_xml.h"

namespace tutti::topology {
namespace nccl {
namespace {

template <typename Value>
void set(pugi::xml_node node, const char* name, const Value& value) {
  node.append_attribute(name).set_value(value);
}
void set(pugi::xml_node node, const char* name, const std::string& value) {
  node.append_attribute(name).set_value(value.c_str());
}

// "ffffffff,0000000f" for the CPUs 0-35.
std::string affinity(const std::string& cpus) {
  constexpr int kWordBits = 32;
  const std::vector<int32_t> list = parse_cpu_list(cpus);
  std::vector<uint32_t> words(list.empty() ? 0 : list.back() / kWordBits + 1);
  for (const int32_t cpu : list) words[cpu / kWordBits] |= uint32_t{1} << (cpu % kWordBits);
  std::reverse(words.begin(), words.end());
  std::string text;
  for (const uint32_t word : words) text += fmt::format("{}{:08x}", text.empty() ? "" : ",", word);
  return text;
}

bool is_hex(std::string_view text, size_t least, size_t most) {
  return text.size() >= least && text.size() <= most &&
         text.find_first_not_of("0123456789abcdefABCDEF") == std::string_view::npos;
}
// No host_hash at all reads as 0.
bool is_host_hash(std::string_view text) {
  return is_hex(text, 1, 16) && text.find_first_not_of('0') != std::string_view::npos;
}

bool is_pci(const Node& node) {
  return node.kind == NodeKind::kPciSwitch || node.kind == NodeKind::kGpu ||
         node.kind == NodeKind::kNic;
}
// A net element says something about it.
bool has_port(const Attributes& nic) {
  return nic.os_index != kUnknown || nic.speed_mbit_s != kUnknown || !nic.guid.empty() ||
         !nic.device.empty() || !nic.verbs_device.empty();
}

class Writer {
 public:
  explicit Writer(const Graph& graph)
      : graph_(graph), children_(children(graph)), up_(graph.nodes.size(), -1), links_(graph) {
    for (size_t i = 0; i < graph.links.size(); ++i) {
      const Link& link = graph.links[i];
      if (link.type != LinkType::kPcie) continue;
      for (const auto& [child, other] :
           {std::pair(link.from, link.to), std::pair(link.to, link.from)})
        if (graph.nodes[child].parent == other && up_[child] < 0) up_[child] = static_cast<int>(i);
    }
  }

  std::string write() {
    find_machines();
    name_addresses();
    assign_devices();
    system_ = document_.append_child("system");
    set(system_, "version", links_.is_rccl() ? 2 : 1);
    for (const int32_t machine : machines_) write_machine(machine);
    add_comment();
    std::ostringstream text;
    document_.save(text, "  ", pugi::format_indent | pugi::format_no_declaration);
    return std::move(text).str();
  }

 private:
  const Attributes& attributes(int32_t node) const { return graph_.nodes[node].attributes; }
  NodeKind kind(int32_t node) const { return graph_.nodes[node].kind; }

  void find_machines() {
    machines_ = nodes_of_kind(graph_, NodeKind::kMachine);
    if (machines_.size() <= 1) return;
    const auto refuse = [](const std::string& reason) {
      throw Error(StatusCode::kInvalidArgument,
                  fmt::format("NCCL XML can't say this cluster: {}; write one machine", reason));
    };
    if (nodes_of_kind(graph_, NodeKind::kNvSwitch).size() > 1)
      refuse("it has one NVSwitch for all hosts, and there are several here");
    std::set<std::string_view> hosts;
    for (const int32_t machine : machines_) {
      const std::string& host = attributes(machine).host_id;
      const bool tells = host.empty() || is_host_hash(host);
      if (!tells || !hosts.insert(host).second)
        refuse(fmt::format("it tells hosts apart by a number, and {} has the host_id \"{}\"",
                           graph_.nodes[machine].id, host));
    }
  }

  // Every pci element needs an address: those that have none get ones that no device has.
  void name_addresses() {
    int next = 0;
    std::set<std::string> taken;
    for (const Node& node : graph_.nodes) taken.insert(node.attributes.pci_address);
    for (const Node& node : graph_.nodes) {
      std::string address = node.attributes.pci_address;
      while (is_pci(node) && address.empty()) {
        address = fmt::format("ffff:{:02x}:{:02x}.0", next / 32, next % 32);
        if (taken.contains(address)) address.clear();
        ++next;
      }
      addresses_.push_back(std::move(address));
    }
  }

  // Nets need a number; those that have none get free ones.
  void assign_devices() {
    int64_t next = 0;
    for (const int32_t nic : nodes_of_kind(graph_, NodeKind::kNic))
      next = std::max(next, attributes(nic).os_index + 1);
    for (const int32_t nic : nodes_of_kind(graph_, NodeKind::kNic)) {
      const bool numbered = attributes(nic).os_index != kUnknown;
      devs_[nic] = numbered ? attributes(nic).os_index : next++;
      if (!numbered && has_port(attributes(nic))) ++left_out_["dev of a NIC (numbered anew)"];
    }
  }

  void write_machine(int32_t machine) {
    std::vector<int32_t> numas;
    std::vector<int32_t> parts;  // the highest of each PCI tree
    gather(machine, &numas, &parts);
    std::map<int32_t, std::vector<int32_t>> parts_of;  // by NUMA node; -1: there is none
    for (const int32_t part : parts) parts_of[home(part, numas)].push_back(part);
    if (numas.empty() && (!parts.empty() || machines_.size() == 1)) numas.push_back(-1);
    for (const int32_t numa : numas) write_cpu(machine, numa, parts_of[numa]);
  }

  void gather(int32_t node, std::vector<int32_t>* numas, std::vector<int32_t>* parts) {
    for (const int32_t child : children_[node]) {
      if (kind(child) == NodeKind::kMachine) continue;  // has cpu elements of its own
      if (is_pci(graph_.nodes[child])) {
        parts->push_back(child);
        continue;
      }
      if (kind(child) == NodeKind::kNuma) numas->push_back(child);
      const bool kept = kind(child) == NodeKind::kNuma || kind(child) == NodeKind::kHostBridge ||
                        (kind(child) == NodeKind::kNvSwitch && links_.uses(child));
      if (!kept && kind(child) != NodeKind::kNetSwitch) ++left_out_[to_text(kind(child))];
      gather(child, numas, parts);
    }
  }

  // The NUMA node that a part is in, else one that it or the bridge it is behind has a link to,
  // else the first.
  int32_t home(int32_t part, const std::vector<int32_t>& numas) const {
    for (int32_t at = part; at >= 0; at = graph_.nodes[at].parent) {
      if (kind(at) == NodeKind::kNuma) return at;
      for (const int32_t near : links_.pcie_neighbours(at))
        if (std::find(numas.begin(), numas.end(), near) != numas.end()) return near;
    }
    return numas.empty() ? -1 : numas.front();
  }

  void write_cpu(int32_t machine, int32_t numa, const std::vector<int32_t>& parts) {
    static const Attributes kNone;
    const Attributes& from = numa < 0 ? kNone : attributes(numa);
    pugi::xml_node cpu = system_.append_child("cpu");
    const std::string& host = attributes(machine).host_id;
    if (is_host_hash(host)) set(cpu, "host_hash", "0x" + host);
    set(cpu, "numaid", static_cast<long long>(from.os_index));
    if (!from.cpus.empty()) set(cpu, "affinity", affinity(from.cpus));
    const std::string& arch = from.arch.empty() ? attributes(machine).arch : from.arch;
    if (!arch.empty()) set(cpu, "arch", arch);
    const CpuModel model = parse_cpu_model(from.model);
    if (!model.vendor.empty()) set(cpu, "vendor", model.vendor);
    if (model.family != kUnknown) set(cpu, "familyid", static_cast<long long>(model.family));
    if (model.model != kUnknown) set(cpu, "modelid", static_cast<long long>(model.model));
    std::vector<int32_t> loose;
    write_parts(parts, cpu, &loose);
    if (loose.empty()) return;
    pugi::xml_node nic = cpu.append_child("nic");
    for (const int32_t net : loose) write_net(net, nic);
  }

  // A NIC with several ports as the reader makes it: one device, whose ports hang from it.
  bool is_card(int32_t part) const {
    const std::vector<int32_t>& ports = children_[part];
    return ports.size() > 1 && !attributes(part).pci_address.empty() &&
           std::all_of(ports.begin(), ports.end(), [&](int32_t port) {
             return kind(port) == NodeKind::kNic &&
                    attributes(port).pci_address == attributes(part).pci_address;
           });
  }

  // NICs that are in no PCI device go to `loose`, where there is a place for them.
  void write_parts(const std::vector<int32_t>& parts, pugi::xml_node parent,
                   std::vector<int32_t>* loose) {
    std::map<std::string, pugi::xml_node> card_nic;  // ports of one card share its element
    for (const int32_t part : parts) {
      const Node& node = graph_.nodes[part];
      const bool nic = node.kind == NodeKind::kNic;
      if (nic && loose != nullptr && node.attributes.pci_address.empty()) {
        loose->push_back(part);
        continue;
      }
      if (nic && card_nic.contains(addresses_[part])) {
        write_net(part, card_nic[addresses_[part]]);
        continue;
      }
      pugi::xml_node pci = write_pci(part, parent);
      if (nic) {
        const bool port = has_port(node.attributes);
        if (!port && is_network_class(node.attributes.pci_class)) continue;
        card_nic[addresses_[part]] = pci.append_child("nic");
        if (port) write_net(part, card_nic[addresses_[part]]);
      } else if (node.kind == NodeKind::kGpu) {
        links_.write_gpu(part, addresses_, pci);
      } else if (is_card(part)) {
        pugi::xml_node ports = pci.append_child("nic");
        for (const int32_t port : children_[part]) write_net(port, ports);
      } else if (node.kind == NodeKind::kPciSwitch) {
        write_parts(children_[part], pci, nullptr);
        links_.write_pci_links(part, addresses_, pci);
      }
    }
  }

  pugi::xml_node write_pci(int32_t part, pugi::xml_node parent) {
    const Attributes& from = attributes(part);
    pugi::xml_node pci = parent.append_child("pci");
    set(pci, "busid", addresses_[part]);
    const char* usual = kind(part) == NodeKind::kGpu   ? "0302"
                        : kind(part) == NodeKind::kNic ? "0200"
                                                       : "0604";
    set(pci, "class", fmt::format("0x{}00", is_hex(from.pci_class, 4, 4) ? from.pci_class : usual));
    const std::string_view id = from.pci_id;
    if (id.size() == 9 && is_hex(id.substr(0, 4), 4, 4) && is_hex(id.substr(5), 4, 4)) {
      set(pci, "vendor", fmt::format("0x{}", id.substr(0, 4)));
      set(pci, "device", fmt::format("0x{}", id.substr(5)));
    }
    const int64_t mbit_s = up_[part] < 0 ? kUnknown : graph_.links[up_[part]].forward_mbit_s;
    const PcieRate rate = pcie_rate(mbit_s);
    set(pci, "link_speed", rate.speed);
    set(pci, "link_width", rate.width);
    if (pcie_mbit_s(rate.speed, rate.width).value_or(kUnknown) != mbit_s)
      ++left_out_["exact bandwidth of a PCIe link"];
    return pci;
  }

  void write_net(int32_t nic, pugi::xml_node parent) {
    const Attributes& from = attributes(nic);
    pugi::xml_node net = parent.append_child("net");
    const std::string& name = from.verbs_device.empty() ? from.device : from.verbs_device;
    if (!name.empty()) set(net, "name", name);
    set(net, "dev", static_cast<long long>(devs_[nic]));
    if (from.speed_mbit_s != kUnknown) set(net, "speed", static_cast<long long>(from.speed_mbit_s));
    if (from.port != kUnknown) set(net, "port", static_cast<long long>(from.port));
    const bool number = from.guid.starts_with("0x") && is_hex(from.guid.substr(2), 1, 16);
    if (number) set(net, "guid", from.guid);
    if (!number && !from.guid.empty()) ++left_out_["guid of a NIC"];
    if (from.rail != kUnknown) set(net, "rail", static_cast<long long>(from.rail));
  }

  // What the format has no place for, by what it is.
  void add_comment() {
    for (const int32_t node : nodes_of_kind(graph_, NodeKind::kNetSwitch))
      ++left_out_[to_text(kind(node))];
    links_.count_left_out(&left_out_);
    if (left_out_.empty()) return;
    std::vector<std::string> words;
    for (const auto& [what, count] : left_out_)
      words.push_back(fmt::format("{} x {}", count, what));
    system_.append_child(pugi::node_comment)
        .set_value(fmt::format(" left out: {} ", fmt::join(words, ", ")).c_str());
  }

  const Graph& graph_;
  const std::vector<std::vector<int32_t>> children_;
  std::vector<int32_t> up_;  // by node: its PCIe link to its parent; -1: none
  GpuLinks links_;
  std::vector<int32_t> machines_;
  std::vector<std::string> addresses_;  // by node
  std::map<int32_t, int64_t> devs_;     // by NIC
  std::map<std::string, int> left_out_;
  pugi::xml_document document_;
  pugi::xml_node system_;
};

}  // namespace
}  // namespace nccl

std::string write_nccl_xml(const Report& report) {
  validate(report.graph);
  return nccl::Writer(report.graph).write();
}

}  // namespace tutti::topology
