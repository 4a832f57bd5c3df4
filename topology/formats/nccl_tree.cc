// SPDX-License-Identifier: Apache-2.0
// Reads cpu, pci, nic and net elements into a tree of parts.
#include "topology/formats/nccl_tree.h"

#include <algorithm>
#include <array>
#include <optional>
#include <set>
#include <tuple>
#include <utility>

#include <spdlog/fmt/fmt.h>

#include "topology/formats/nccl_nets.h"
#include "topology/formats/nccl_tables.h"

namespace tutti::topology::nccl {
namespace {

struct Host {
  uint64_t hash = 0;
  std::string prefix;  // of its parts' ids; "" for the only one
  int32_t machine = 0;
  std::vector<pugi::xml_node> cpus;
};

// GPUs wait until all else is in the graph.
struct WaitingGpu {
  int32_t host = 0;
  int32_t parent = 0;
  int32_t numa = 0;
  Attributes attributes;
  pugi::xml_node pci;
};

// "0302" of class="0x030200" or "0x0302".
std::string class_of(const Document& document, pugi::xml_node pci) {
  const auto value = document.hex(pci, "class", 0xff'ffff);
  if (!value) return "";
  std::string_view digits = pci.attribute("class").value();
  if (digits.starts_with("0x")) digits.remove_prefix(2);
  const bool has_interface = digits.size() > 4;
  return fmt::format("{:04x}", has_interface ? *value >> 8 : *value);
}

Role role_of(const Document& document, pugi::xml_node pci) {
  if (pci.child("gpu")) return Role::kGpu;
  if (pci.child("nic")) return Role::kNic;
  const std::string pci_class = class_of(document, pci);
  if (pci_class == "0604") return Role::kSwitch;
  if (pci_class == "0680" && document.hex(pci, "class", 0xff'ffff) == 0x06'8000U)
    return Role::kNvSwitch;
  if (is_network_class(pci_class)) return Role::kNic;
  if (is_display_class(pci_class)) {
    const auto vendor = document.hex(pci, "vendor", 0xffff);
    return !vendor || makes_gpus(fmt::format("{:04x}", *vendor)) ? Role::kGpu : Role::kLeftOut;
  }
  return pci.child("pci") ? Role::kSwitch : Role::kLeftOut;
}

class TreeReader {
 public:
  explicit TreeReader(Document& document) : document_(document), graph_(document.report().graph) {}

  Tree read() {
    group_by_host();
    for (host_ = 0; host_ < static_cast<int32_t>(hosts_.size()); ++host_) {
      numas_.clear();
      loose_nets_.clear();
      for (const pugi::xml_node cpu : hosts_[host_].cpus) read_cpu(cpu);
    }
    add_gpus();
    distrust_slow_links();
    return std::move(tree_);
  }

 private:
  void group_by_host() {
    const pugi::xml_node system = document_.root();
    std::map<uint64_t, size_t> index_of_hash;
    for (const pugi::xml_node child : system.children()) {
      if (!is_named(child, "cpu")) {
        leave_out(child, "expected only cpu elements here");
        continue;
      }
      const uint64_t hash = document_.hex(child, "host_hash", UINT64_MAX).value_or(0);
      const auto [index, fresh] = index_of_hash.try_emplace(hash, hosts_.size());
      if (fresh) hosts_.push_back({.hash = hash});
      hosts_[index->second].cpus.push_back(child);
    }
    if (hosts_.empty()) document_.fail(system, "expected at least one cpu element, got none");
    tree_.parts.resize(hosts_.size());
    const bool several = hosts_.size() > 1;
    if (several) add_node(graph_, "cluster", NodeKind::kCluster, -1);
    for (size_t i = 0; i < hosts_.size(); ++i) {
      Attributes attributes;
      if (hosts_[i].hash != 0) attributes.host_id = fmt::format("{:016x}", hosts_[i].hash);
      const std::string id = several ? fmt::format("host{}", i) : "machine";
      if (several) hosts_[i].prefix = id + '/';
      hosts_[i].machine =
          add_node(graph_, id, NodeKind::kMachine, several ? 0 : -1, std::move(attributes));
    }
  }

  void read_cpu(pugi::xml_node cpu) {
    const int64_t index = document_.integer(cpu, "numaid", kUnknown, kMaxIndex);
    if (!numas_.insert(index).second)
      document_.fail(cpu, fmt::format("numaid: expected each NUMA node once, got {} again", index));
    Attributes attributes;
    attributes.os_index = index;
    attributes.cpus = document_.cpus(cpu);
    attributes.arch = text_of(cpu, "arch");
    const CpuModel model{
        .vendor = text_of(cpu, "vendor"),
        .family = document_.integer_or(cpu, "familyid", kUnknown, kUnknown, INT32_MAX),
        .model = document_.integer_or(cpu, "modelid", kUnknown, kUnknown, INT32_MAX)};
    attributes.model = to_text(parse_cpu_model(to_text(model)));
    const std::string id = index == kUnknown ? "numa" : fmt::format("numa{}", index);
    numa_ = add_node(graph_, hosts_[host_].prefix + id, NodeKind::kNuma, hosts_[host_].machine,
                     std::move(attributes));
    for (const pugi::xml_node child : cpu.children())
      if (is_named(child, "pci"))
        read_pci(child, numa_, 3);
      else if (!is_named(child, "nic"))
        leave_out(child, "expected only pci and nic elements here");
    for (const pugi::xml_node nic : cpu.children("nic"))
      for (const pugi::xml_node net : kept_nets(document_, nic)) add_loose_net(net);
  }

  // `level` counts from the root, which is 1.
  void read_pci(pugi::xml_node pci, int32_t parent, int level) {
    // Deepest are the ports of a card.
    if (level + 2 > kMaxDepth)
      document_.fail(pci, fmt::format("expected at most {} levels, got more", kMaxDepth));
    const Role role = role_of(document_, pci);
    Attributes attributes = pci_attributes(pci, role);
    PciPart& part = claim(pci, role, attributes.pci_address);
    switch (role) {
      case Role::kSwitch:
        part.node = add_part("pci_switch:", NodeKind::kPciSwitch, pci, parent, attributes);
        return read_below_switch(pci, part.node, level);
      case Role::kGpu:
        read_gpu_attributes(pci, attributes);
        waiting_.push_back({host_, parent, numa_, std::move(attributes), pci});
        return note_children(pci, "gpu");
      case Role::kNic:
        add_nic(pci, parent, attributes);
        return note_children(pci, "nic");
      case Role::kNvSwitch:
        return note_children(pci, "");
      case Role::kLeftOut:
        return leave_out(pci, fmt::format("{} (class \"{}\") is no switch, GPU, NIC or NVSwitch",
                                          attributes.pci_address, text_of(pci, "class")));
    }
  }

  // Files have been seen with a bridge and a NIC at one address, which nothing suffers from.
  PciPart& claim(pugi::xml_node pci, Role role, const std::string& address) {
    const auto [part, fresh] = tree_.parts[host_].try_emplace({address, role}, PciPart{-1, pci});
    if (!fresh)
      document_.fail(pci, fmt::format("busid: expected each PCI address once, got {}, which line "
                                      "{} has",
                                      address, document_.line(part->second.xml)));
    const auto [first, only] = addresses_.try_emplace({host_, address}, pci);
    if (!only)
      document_.note(pci, fmt::format("has the address {} of another device, in line {}", address,
                                      document_.line(first->second)));
    return part->second;
  }

  void read_below_switch(pugi::xml_node pci, int32_t node, int level) {
    for (const pugi::xml_node child : pci.children()) {
      if (is_named(child, "pci"))
        read_pci(child, node, level + 1);
      else if (is_named(child, "pcilink"))
        tree_.pci_links.push_back({host_, node, child});
      else
        leave_out(child, "expected only pci and pcilink elements in a switch");
    }
  }

  Attributes pci_attributes(pugi::xml_node pci, Role role) {
    Attributes attributes;
    attributes.pci_address = document_.bus_id(pci, "busid");
    attributes.pci_class = class_of(document_, pci);
    if (attributes.pci_class.empty() && role != Role::kLeftOut) {
      attributes.pci_class = role == Role::kGpu ? "0302" : role == Role::kNic ? "0200" : "0604";
      document_.note(pci, fmt::format("has no class; taken as {}", attributes.pci_class));
    }
    if (role == Role::kSwitch && attributes.pci_class != "0604") {
      document_.note(pci, fmt::format("of class {} has devices below: taken as a bridge",
                                      attributes.pci_class));
      attributes.pci_class = "0604";
    }
    const auto vendor = document_.hex(pci, "vendor", 0xffff);
    const auto device = document_.hex(pci, "device", 0xffff);
    if (vendor && device) attributes.pci_id = fmt::format("{:04x}:{:04x}", *vendor, *device);
    return attributes;
  }

  void read_gpu_attributes(pugi::xml_node pci, Attributes& attributes) {
    const pugi::xml_node gpu = pci.child("gpu");
    if (!gpu)
      return document_.note(pci,
                            "is a GPU by its class, but has no gpu element: its dev and its "
                            "architecture are unknown");
    attributes.os_index = document_.integer_or(gpu, "dev", kUnknown, 0, kMaxIndex);
    if (attributes.os_index == kUnknown)
      document_.note(gpu, "has no dev: it comes after those that have one");
    const int64_t sm = document_.integer_or(gpu, "sm", 0, 0, kMaxIndex);
    attributes.arch = arch_of_gcn(text_of(gpu, "gcn"));  // sm counts compute units then
    if (attributes.arch.empty() && sm > 0) attributes.arch = fmt::format("sm{}", sm);
    document_.integer_or(gpu, "rank", 0, -1, INT32_MAX);
  }

  void add_gpus() {
    const auto order = [](const WaitingGpu& gpu) {
      const int64_t dev = gpu.attributes.os_index;
      return std::tuple(gpu.host, dev == kUnknown ? kMaxIndex + 1 : dev,
                        std::string_view(gpu.attributes.pci_address));
    };
    std::sort(waiting_.begin(), waiting_.end(),
              [&](const WaitingGpu& a, const WaitingGpu& b) { return order(a) < order(b); });
    for (const WaitingGpu& gpu : waiting_) {
      host_ = gpu.host;
      const int32_t node = add_part("gpu:", NodeKind::kGpu, gpu.pci, gpu.parent, gpu.attributes);
      tree_.parts[host_][{gpu.attributes.pci_address, Role::kGpu}].node = node;
      tree_.gpus.push_back({host_, node, gpu.numa, gpu.pci.child("gpu")});
    }
    for (size_t i = 0; i < tree_.gpus.size(); ++i) {
      const int64_t dev = waiting_[i].attributes.os_index;
      if (i > 0 && dev != kUnknown && waiting_[i - 1].attributes.os_index == dev &&
          tree_.gpus[i].host == tree_.gpus[i - 1].host)
        document_.note(tree_.gpus[i].xml, fmt::format("dev {} is another GPU's too", dev));
      const int64_t rank = document_.integer_or(tree_.gpus[i].xml, "rank", -1, -1, INT32_MAX);
      if (rank >= 0 && rank != static_cast<int64_t>(i))
        document_.note(tree_.gpus[i].xml, fmt::format("rank {} is not kept: by its dev it is GPU "
                                                      "{} of the file",
                                                      rank, i));
    }
  }

  void add_nic(pugi::xml_node pci, int32_t parent, const Attributes& card) {
    std::vector<pugi::xml_node> nets;
    for (const pugi::xml_node nic : pci.children("nic"))
      for (const pugi::xml_node net : kept_nets(document_, nic)) nets.push_back(net);
    if (nets.empty()) {
      document_.note(pci, "is a NIC without a net element: its name and speed are unknown");
      add_part("nic:", NodeKind::kNic, pci, parent, card);
      return;
    }
    int64_t mbit_s = link_mbit_s(pci);
    const bool several = nets.size() > 1;
    if (several) {
      parent = add_part("nic_card:", NodeKind::kPciSwitch, pci, parent, card);
      mbit_s = graph_.links.back().forward_mbit_s;
    }
    for (const pugi::xml_node net : nets) {
      Attributes attributes = card;
      read_net(document_, net, attributes);
      note_device(net, attributes.os_index);
      std::string id = nic_id(attributes);
      const int32_t node =
          add_node(graph_, std::move(id), NodeKind::kNic, parent, std::move(attributes));
      add_link(graph_, parent, node, LinkType::kPcie, mbit_s);
      remember_speed(node, several ? pugi::xml_node() : pci);
    }
    if (!several) note_unknown_link(pci);
  }

  // A bridge or a veth is near no NUMA node in particular, and some files have it under each.
  void add_loose_net(pugi::xml_node net) {
    const std::string name = text_of(net, "name");
    const auto [first, fresh] = loose_nets_.try_emplace(
        std::pair(name, document_.integer_or(net, "port", kUnknown, kUnknown, kMaxIndex)), net);
    if (!fresh && !name.empty())
      return leave_out(
          net, fmt::format("{} is the one of line {}", name, document_.line(first->second)));
    document_.note(net,
                   fmt::format("{} is in no PCI device: the bandwidth to it is unknown", name));
    Attributes attributes;
    read_net(document_, net, attributes);
    note_device(net, attributes.os_index);
    std::string id = nic_id(attributes);
    const int32_t node =
        add_node(graph_, std::move(id), NodeKind::kNic, numa_, std::move(attributes));
    add_link(graph_, numa_, node, LinkType::kPcie);
  }

  void note_device(pugi::xml_node net, int64_t dev) {
    if (!net_devs_.insert({host_, dev}).second)
      document_.note(net, fmt::format("dev {} is another net's too", dev));
  }

  std::string nic_id(const Attributes& attributes) {
    std::string name = attributes.verbs_device.empty()
                           ? attributes.device
                           : fmt::format("{}:{}", attributes.verbs_device, attributes.port);
    if (name.empty()) name = attributes.pci_address;
    if (name.empty()) name = fmt::format("net{}", attributes.os_index);
    const std::string id = hosts_[host_].prefix + "nic:" + name;
    std::string free = id;
    for (int& copy = nic_copies_[id]; !nic_ids_.insert(free).second;)
      free = fmt::format("{}.{}", id, 1 + ++copy);
    return free;
  }

  // A part that its address names, and its link towards the CPU.
  int32_t add_part(const char* prefix, NodeKind kind, pugi::xml_node pci, int32_t parent,
                   const Attributes& attributes) {
    std::string id = kind == NodeKind::kNic
                         ? nic_id(attributes)
                         : hosts_[host_].prefix + prefix + attributes.pci_address;
    const int32_t node = add_node(graph_, std::move(id), kind, parent, attributes);
    add_link(graph_, parent, node, LinkType::kPcie, link_mbit_s(pci));
    remember_speed(node, pci);
    note_unknown_link(pci);
    return node;
  }

  static int64_t link_mbit_s(pugi::xml_node pci) {
    return pcie_mbit_s(pci.attribute("link_speed").value(), pci.attribute("link_width").value())
        .value_or(kUnknown);
  }

  void note_unknown_link(pugi::xml_node pci) {
    if (link_mbit_s(pci) == kUnknown)
      document_.note(pci, fmt::format("{}: link_speed \"{}\" and link_width \"{}\" say no "
                                      "bandwidth: unknown",
                                      text_of(pci, "busid"), text_of(pci, "link_speed"),
                                      text_of(pci, "link_width")));
  }

  // The link just added, to `node`, is what `pci` says (nothing for a port of a card).
  void remember_speed(int32_t node, pugi::xml_node pci) {
    up_.resize(static_cast<size_t>(node) + 1);
    up_[node] = {static_cast<int32_t>(graph_.links.size()) - 1, pci};
  }

  // Virtual bridges and devices built into the chipset claim to be of the first generation; what
  // then carries less than something below it needs is not what it claims.
  void distrust_slow_links() {
    up_.resize(graph_.nodes.size());
    std::vector<int64_t> needed(graph_.nodes.size(), kUnknown);
    for (size_t i = graph_.nodes.size(); i-- > 1;) {
      const auto& [index, pci] = up_[i];
      const Node& node = graph_.nodes[i];
      needed[i] = std::max(needed[i], node.attributes.speed_mbit_s);
      if (index >= 0 && pci && graph_.links[index].forward_mbit_s < needed[i] &&
          is_first_generation(pci.attribute("link_speed").value()))
        forget_bandwidth(static_cast<int32_t>(i));
      if (index >= 0) needed[i] = std::max(needed[i], graph_.links[index].forward_mbit_s);
      needed[node.parent] = std::max(needed[node.parent], needed[i]);
    }
  }

  void forget_bandwidth(int32_t node) {
    const pugi::xml_node pci = up_[node].pci;
    const auto forget = [this](int32_t link) {
      graph_.links[link].forward_mbit_s = graph_.links[link].reverse_mbit_s = kUnknown;
    };
    if (graph_.links[up_[node].link].forward_mbit_s == kUnknown) return;
    document_.note(pci, fmt::format("{}: \"{}\" is slower than what is below it: not believed, "
                                    "unknown",
                                    text_of(pci, "busid"), text_of(pci, "link_speed")));
    forget(up_[node].link);
    for (size_t i = node + 1; i < up_.size() && graph_.nodes[i].parent == node; ++i)
      if (up_[i].link >= 0 && !up_[i].pci) forget(up_[i].link);
  }

  void note_children(pugi::xml_node pci, std::string_view expected) {
    bool seen = false;
    for (const pugi::xml_node child : pci.children()) {
      const bool is_expected = is_named(child, expected);
      if (!is_expected || (seen && expected == "gpu"))
        leave_out(child, is_expected ? "a PCI device is one GPU here" : "not expected in a device");
      seen = seen || is_expected;
    }
  }

  void leave_out(pugi::xml_node node, const std::string& reason) {
    document_.note_left_out(node, reason);
  }

  struct UpLink {
    int32_t link = -1;   // in the graph
    pugi::xml_node pci;  // whose bandwidth it has; none for the inside of a card
  };

  Document& document_;
  Graph& graph_;
  Tree tree_;
  std::vector<Host> hosts_;
  int32_t host_ = 0;                                                      // that is being read
  int32_t numa_ = 0;                                                      // the node of its cpu
  std::set<int64_t> numas_;                                               // of the host
  std::map<std::pair<std::string, int64_t>, pugi::xml_node> loose_nets_;  // of it; name and port
  std::map<std::pair<int32_t, std::string>, pugi::xml_node> addresses_;   // by host
  std::set<std::pair<int32_t, int64_t>> net_devs_;
  std::set<std::string> nic_ids_;
  std::map<std::string, int> nic_copies_;
  std::vector<WaitingGpu> waiting_;
  std::vector<UpLink> up_;  // by node
};

}  // namespace

Tree read_tree(Document& document) { return TreeReader(document).read(); }

}  // namespace tutti::topology::nccl
