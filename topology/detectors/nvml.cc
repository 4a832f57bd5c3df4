// SPDX-License-Identifier: Apache-2.0
// Places GPUs and their NVLinks in a machine's graph.
#include "topology/detectors/nvml.h"

#include <algorithm>
#include <array>
#include <map>
#include <string_view>
#include <utility>
#include <vector>

#include <spdlog/fmt/fmt.h>

#include "topology/formats/nccl_tables.h"
#include "topology/link_rates.h"

namespace tutti::topology {
namespace {

constexpr const char* kSource = "nvml";
constexpr int kFirstNvlsCapability = 90;  // from Hopper on NVSwitches reduce and multicast

struct Gpu {
  std::string address;
  int32_t node = -1;
  int capability = 0;  // 0: not known
};

// The NVLinks between two GPUs, as each of them tells.
struct Pair {
  std::array<int, 2> up{};
  std::array<int, 2> down{};
  bool both_asked = false;
};

std::string arch_of(int capability) { return fmt::format("sm{}", capability); }

int64_t nvlink_mbit_s(int capability) {
  bool known = false;
  const int64_t mbit_s = nccl::gpu_link_mbit_s(LinkType::kNvLink, arch_of(capability), &known);
  return known ? mbit_s : kUnknown;
}

int64_t rate_of(const Gpu& gpu, std::optional<int> version) {
  if (gpu.capability != 0) return nvlink_mbit_s(gpu.capability);
  // NVML's numbers for NVLink 1.0, 2.0, 2.2, 3.0, 3.1, 4.0, 5.0, 6.0, and who has them.
  constexpr std::array<int, 9> kCapabilities = {0, 60, 70, 70, 80, 80, 90, 100, 100};
  if (!version || *version < 1 || *version >= static_cast<int>(kCapabilities.size()))
    return kUnknown;
  return nvlink_mbit_s(kCapabilities[*version]);
}

// The memory that a device reaches first, going up from its place.
std::optional<int32_t> nearest_numa(const Graph& graph, int32_t device) {
  for (int32_t at = device; at >= 0; at = graph.nodes[at].parent) {
    if (graph.nodes[at].kind == NodeKind::kNuma) return at;
    for (const Link& link : graph.links)
      for (const auto& [end, other] :
           {std::pair(link.from, link.to), std::pair(link.to, link.from)})
        if (end == at && graph.nodes[other].kind == NodeKind::kNuma) return other;
  }
  return std::nullopt;
}

// hwloc lists NVSwitch chips one by one, as PCI devices that carry nothing. Removes them.
int remove_switch_chips(Graph& graph) {
  std::vector<int32_t> places(graph.nodes.size(), -1);
  Graph kept;
  for (size_t i = 0; i < graph.nodes.size(); ++i) {
    Node& node = graph.nodes[i];
    if (node.kind == NodeKind::kNvSwitch && !node.attributes.pci_address.empty()) continue;
    if (node.parent >= 0) node.parent = places[node.parent];
    places[i] = static_cast<int32_t>(kept.nodes.size());
    kept.nodes.push_back(std::move(node));
  }
  for (Link link : graph.links) {
    link.from = places[link.from];
    link.to = places[link.to];
    if (link.from >= 0 && link.to >= 0) kept.links.push_back(link);
  }
  const auto removed = static_cast<int>(graph.nodes.size() - kept.nodes.size());
  graph = std::move(kept);
  return removed;
}

class GpuDetector {
 public:
  GpuDetector(Nvml& nvml, Report& report) : nvml_(nvml), report_(report), graph_(report.graph) {}

  void detect() {
    const int count = nvml_.device_count();
    if (count == 0) return note("no GPU that this process may see");
    if (any_switch_link(count)) {
      const int chips = remove_switch_chips(graph_);
      if (chips > 0)
        note(fmt::format("the machine's {} NVSwitch chips count as one switch", chips));
      const auto known = find_node(graph_, kSwitchId);
      switch_ = known ? *known : add_node(graph_, kSwitchId, NodeKind::kNvSwitch, 0);
    }
    for (int i = 0; i < count; ++i) place_gpu(i);
    for (int i = 0; i < count; ++i) {
      if (gpus_[i].node < 0) continue;
      add_c2c(i);
      add_nvlinks(i);
    }
    for (const auto& [ends, pair] : pairs_) join_pair(ends.first, ends.second, pair);
    note_other_makers();
  }

 private:
  static constexpr const char* kSwitchId = "nvswitch";

  void note(std::string text) { report_.notes.push_back({kSource, std::move(text)}); }
  const std::string& id(int32_t node) const { return graph_.nodes[node].id; }

  bool any_switch_link(int count) {
    for (int i = 0; i < count; ++i)
      for (int link = 0; link < Nvml::kMaxNvlinks; ++link)
        if (nvml_.nvlink_active(i, link) && nvml_.nvlink_peer(i, link) == NvlinkPeer::kSwitch)
          return true;
    return false;
  }

  std::optional<int32_t> gpu_node(const std::string& address) const {
    if (address.empty()) return std::nullopt;
    for (const int32_t node : nodes_of_kind(graph_, NodeKind::kGpu))
      if (graph_.nodes[node].attributes.pci_address == address) return node;
    return std::nullopt;
  }

  void place_gpu(int i) {
    Gpu gpu{nvml_.pci_address(i), -1, nvml_.compute_capability(i).value_or(0)};
    if (gpu.address.empty()) {
      note(fmt::format("GPU {} is left out: the driver does not tell its PCI address", i));
      gpus_.push_back(gpu);
      return;
    }
    const auto known = gpu_node(gpu.address);
    gpu.node = known ? *known : add_gpu(gpu.address);
    Attributes& attributes = graph_.nodes[gpu.node].attributes;
    attributes.os_index = i;
    if (std::string name = nvml_.name(i); !name.empty()) attributes.model = std::move(name);
    if (gpu.capability != 0) attributes.arch = arch_of(gpu.capability);
    if (std::string uuid = nvml_.uuid(i); !uuid.empty()) attributes.guid = std::move(uuid);
    set_pcie(i, gpu.node);
    if (switch_ >= 0 && gpu.capability >= kFirstNvlsCapability)
      graph_.nodes[switch_].attributes.reduces = graph_.nodes[switch_].attributes.multicasts = true;
    gpus_.push_back(std::move(gpu));
  }

  int32_t add_gpu(const std::string& address) {
    const int32_t node =
        add_node(graph_, "gpu:" + address, NodeKind::kGpu, 0, {.pci_address = address});
    const std::vector<int32_t> numas = nodes_of_kind(graph_, NodeKind::kNuma);
    if (numas.size() == 1) {
      add_link(graph_, numas[0], node, LinkType::kPcie);
    } else {
      note(fmt::format("{} has no PCIe link: its place on PCI is unknown", id(node)));
    }
    return node;
  }

  void set_pcie(int i, int32_t node) {
    const int64_t mbit_s =
        pcie_mbit_s(nvml_.max_pcie_generation(i).value_or(0), nvml_.pcie_lanes(i).value_or(0));
    if (mbit_s == kUnknown) return;
    for (Link& link : graph_.links)
      if (link.to == node && link.type == LinkType::kPcie)
        link.forward_mbit_s = link.reverse_mbit_s = mbit_s;
  }

  void add_c2c(int i) {
    const int links = nvml_.c2c_links(i).value_or(0);
    if (links <= 0) return;
    const auto numa = nearest_numa(graph_, gpus_[i].node);
    if (!numa)
      return note(
          fmt::format("C2C links of {} are left out: its NUMA node is unknown", id(gpus_[i].node)));
    for (int link = 0; link < links; ++link) {
      const auto mbit_s = nvml_.c2c_mbit_s(i, link);
      add_link(graph_, gpus_[i].node, *numa, LinkType::kC2c, mbit_s.value_or(0));
    }
  }

  void add_nvlinks(int i) {
    std::vector<int> dead;
    std::map<std::string, int> strangers;
    for (int link = 0; link < Nvml::kMaxNvlinks; ++link) {
      const auto active = nvml_.nvlink_active(i, link);
      if (!active) continue;
      if (add_nvlink(i, link, *active)) continue;
      if (*active)
        ++strangers[nvml_.nvlink_peer_address(i, link)];
      else
        dead.push_back(link);
    }
    const std::string& gpu = id(gpus_[i].node);
    if (!dead.empty())
      note(fmt::format("NVLinks {} of {} are down or not wired", fmt::join(dead, ", "), gpu));
    for (const auto& [address, count] : strangers)
      note(fmt::format("{} NVLinks of {} are left out: they lead to {}, which is not known here",
                       count, gpu, address.empty() ? "a device" : address));
  }

  // False when its other end is not in the graph.
  bool add_nvlink(int i, int link, bool active) {
    const int32_t node = gpus_[i].node;
    const int64_t mbit_s = active ? rate_of(gpus_[i], nvml_.nvlink_version(i, link)) : 0;
    const NvlinkPeer peer = nvml_.nvlink_peer(i, link);
    if (peer == NvlinkPeer::kSwitch) {
      add_link(graph_, node, switch_, LinkType::kNvLink, mbit_s);
      return true;
    }
    if (peer == NvlinkPeer::kCpu) {
      const auto numa = nearest_numa(graph_, node);
      if (numa) add_link(graph_, node, *numa, LinkType::kNvLink, mbit_s);
      return numa.has_value();
    }
    const auto other = gpu_node(nvml_.nvlink_peer_address(i, link));
    if (!other || *other == node) return false;
    Pair& pair = pairs_[std::minmax(node, *other)];
    const int end = node < *other ? 0 : 1;
    ++(active ? pair.up : pair.down)[end];
    rates_[std::minmax(node, *other)] = std::max(rates_[std::minmax(node, *other)], mbit_s);
    pair.both_asked = std::any_of(gpus_.begin(), gpus_.end(),
                                  [other](const Gpu& gpu) { return gpu.node == *other; });
    return true;
  }

  // Each link is told by both ends; one is up when both say so.
  void join_pair(int32_t a, int32_t b, const Pair& pair) {
    const int all = std::max(pair.up[0] + pair.down[0], pair.up[1] + pair.down[1]);
    const int up =
        pair.both_asked ? std::min(pair.up[0], pair.up[1]) : std::max(pair.up[0], pair.up[1]);
    if (pair.both_asked && pair.up[0] != pair.up[1])
      note(fmt::format("{} tells {} NVLinks to {}, which tells {}; the others count as down", id(a),
                       pair.up[0], id(b), pair.up[1]));
    for (int link = 0; link < all; ++link)
      add_link(graph_, a, b, LinkType::kNvLink, link < up ? rates_[{a, b}] : 0);
  }

  // hwloc's note says that links between GPUs are left out; now only those of other makers are.
  void note_other_makers() {
    const std::vector<int32_t> nodes = nodes_of_kind(graph_, NodeKind::kGpu);
    const bool others = std::any_of(nodes.begin(), nodes.end(), [this](int32_t node) {
      const std::string& maker = graph_.nodes[node].attributes.pci_id;
      return !maker.empty() && !maker.starts_with("10de:");
    });
    std::erase_if(report_.notes, [](const Note& note) { return note.source == "gpu"; });
    if (others)
      report_.notes.push_back(
          {"gpu", "links between GPUs that NVML does not know (xGMI) are left out"});
  }

  using Ends = std::pair<int32_t, int32_t>;
  Nvml& nvml_;
  Report& report_;
  Graph& graph_;
  std::vector<Gpu> gpus_;  // by NVML's index
  int32_t switch_ = -1;
  std::map<Ends, Pair> pairs_;     // the lower node first
  std::map<Ends, int64_t> rates_;  // of one link
};

}  // namespace

void detect_gpus(Nvml& nvml, Report& report) {
  if (const std::string reason = nvml.reason(); !reason.empty()) {
    report.notes.push_back({kSource, "NVIDIA GPUs are not asked: " + reason});
    return;
  }
  GpuDetector(nvml, report).detect();
  validate(report.graph);
}

}  // namespace tutti::topology
