// SPDX-License-Identifier: Apache-2.0
// The links of an NCCL XML file that are not along its PCI tree. They are added in the order of
// their nodes, whatever the order of the elements.
#include <algorithm>
#include <map>
#include <set>
#include <string_view>
#include <tuple>
#include <utility>

#include <spdlog/fmt/fmt.h>

#include "topology/formats/nccl_tables.h"
#include "topology/formats/nccl_tree.h"

namespace tutti::topology::nccl {
namespace {

// Bounds what a small file may blow up to; far above any real machine.
constexpr size_t kMaxLinks = size_t{1} << 16;

class LinkReader {
 public:
  LinkReader(Document& document, const Tree& tree)
      : document_(document), graph_(document.report().graph), tree_(tree) {}

  void read() {
    add_pci_links();
    add_inter_socket_links();
    find_switch();
    for (const GpuPart& gpu : tree_.gpus)
      for (const pugi::xml_node child : gpu.xml.children()) read_gpu_child(gpu, child);
    note_unused_switches();
    add_gpu_links();
    add_c2c_links();
  }

 private:
  // What the two ends of GPU links say: the node that comes first, and the other.
  struct Counts {
    int64_t first = 0;
    int64_t second = 0;
    pugi::xml_node xml;
  };
  using Pair = std::tuple<int32_t, int32_t, LinkType>;
  // A GPU, its NUMA node, and the bandwidth of one link.
  using C2c = std::tuple<int32_t, int32_t, int64_t>;

  void check_room(pugi::xml_node at, size_t more) const {
    if (graph_.links.size() + more > kMaxLinks)
      document_.fail(at, fmt::format("expected at most {} links in all, got more", kMaxLinks));
  }

  // -1 when there is none.
  int32_t node_at(int32_t host, const std::string& address, Role role) const {
    const auto part = tree_.parts[host].find({address, role});
    return part == tree_.parts[host].end() ? -1 : part->second.node;
  }

  void add_pci_links() {
    std::set<std::pair<int32_t, int32_t>> pairs;
    for (const PciLink& link : tree_.pci_links) {
      const std::string target = document_.bus_id(link.xml, "target");
      const int32_t other = node_at(link.host, target, Role::kSwitch);
      if (other < 0 || other == link.node || graph_.nodes[other].parent == link.node ||
          graph_.nodes[link.node].parent == other) {
        document_.note(link.xml,
                       fmt::format("is left out: {} is no other switch beside this one", target));
        continue;
      }
      pairs.insert(std::minmax(link.node, other));
    }
    for (const auto& [a, b] : pairs) add_link(graph_, a, b, LinkType::kPcie);
  }

  void add_inter_socket_links() {
    bool unknown = false;
    std::map<int32_t, std::vector<int32_t>> numas_of;  // by machine
    for (const int32_t numa : nodes_of_kind(graph_, NodeKind::kNuma))
      numas_of[graph_.nodes[numa].parent].push_back(numa);
    for (const auto& [machine, numas] : numas_of) {
      check_room(document_.root(), numas.size() * (numas.size() - 1) / 2);
      for (size_t a = 0; a < numas.size(); ++a) {
        const int64_t forward = inter_socket_mbit_s(graph_.nodes[numas[a]].attributes);
        unknown = unknown || (numas.size() > 1 && forward == kUnknown);
        for (size_t b = a + 1; b < numas.size(); ++b)
          graph_.links.push_back({numas[a], numas[b], LinkType::kSmp, forward,
                                  inter_socket_mbit_s(graph_.nodes[numas[b]].attributes),
                                  kUnknown});
      }
    }
    if (unknown)
      document_.note(document_.root(),
                     "has CPUs whose arch, vendor, familyid and modelid are in no "
                     "table: the bandwidth between NUMA nodes is unknown");
  }

  // The targets that are NVSwitches of the file, or stand for one.
  bool is_nvswitch(int32_t host, pugi::xml_node link) const {
    const std::string_view target_class = link.attribute("tclass").value();
    if (target_class == kNvSwitchClass ||
        std::string_view(link.attribute("target").value()) == kCollapsedNvSwitch)
      return true;
    return tree_.parts[host].contains({document_.bus_id(link, "target"), Role::kNvSwitch});
  }

  static bool is_cpu(pugi::xml_node link) {
    return std::string_view(link.attribute("tclass").value()) == kCpuClass;
  }
  static bool is_gpu_link(pugi::xml_node link) {
    return is_named(link, "nvlink") || is_named(link, "xgmi");
  }

  // One node for all switch chips, when a GPU has a link to any.
  void find_switch() {
    int64_t lowest = INT64_MAX;
    for (const GpuPart& gpu : tree_.gpus)
      for (const pugi::xml_node link : gpu.xml.children())
        if (is_gpu_link(link) && !is_cpu(link) && is_nvswitch(gpu.host, link) &&
            document_.integer(link, "count", 0, kMaxCount) > 0)
          lowest = std::min(lowest,
                            compute_capability(graph_.nodes[gpu.node].attributes.arch).value_or(0));
    if (lowest == INT64_MAX) return;
    constexpr int64_t kHopper = 90;  // the first with switches that reduce
    Attributes attributes;
    attributes.reduces = attributes.multicasts = lowest >= kHopper;
    switch_ = add_node(graph_, "nvswitch", NodeKind::kNvSwitch, 0, std::move(attributes));
  }

  void note_unused_switches() {
    if (switch_ >= 0) return;
    for (const auto& parts : tree_.parts)
      for (const auto& [place, part] : parts)
        if (place.second == Role::kNvSwitch)
          document_.note(part.xml,
                         fmt::format("is left out: no GPU has a link to NVSwitch {}", place.first));
  }

  void read_gpu_child(const GpuPart& gpu, pugi::xml_node child) {
    if (child.type() != pugi::node_element) return;
    if (is_named(child, "c2c")) {
      // MB/s of one link.
      const int64_t megabytes = document_.integer(child, "bw", 1, 100'000'000);
      c2c_[{gpu.node, gpu.numa, megabytes * 8}] +=
          document_.integer_or(child, "count", 1, 0, kMaxCount);
    } else if (is_gpu_link(child)) {
      read_gpu_link(gpu, child);
    } else {
      document_.note(child, "is left out: expected only nvlink, xgmi and c2c elements in a gpu");
    }
  }

  void read_gpu_link(const GpuPart& gpu, pugi::xml_node link) {
    const int64_t count = document_.integer(link, "count", 0, kMaxCount);
    const auto leave_out = [&](const std::string& reason) {
      document_.note(link, fmt::format("is left out: {}", reason));
    };
    if (count == 0) return leave_out("it counts 0 links");
    const LinkType type = is_named(link, "xgmi") ? LinkType::kXgmi : LinkType::kNvLink;
    int32_t other = -1;
    if (is_cpu(link)) {
      other = gpu.numa;
    } else if (is_nvswitch(gpu.host, link)) {
      other = switch_;
    } else {
      const std::string target = document_.bus_id(link, "target");
      other = node_at(gpu.host, target, Role::kGpu);
      if (other < 0) return leave_out(fmt::format("the file has no GPU {}", target));
      if (other == gpu.node) return leave_out("it joins the GPU with itself");
    }
    const auto [first, second] = std::minmax(gpu.node, other);
    Counts& counts = gpu_links_[{first, second, type}];
    (gpu.node == first ? counts.first : counts.second) += count;
    counts.xml = link;
  }

  void add_gpu_links() {
    for (const auto& [pair, counts] : gpu_links_) {
      const auto& [a, b, type] = pair;
      const Node& first = graph_.nodes[a];
      const Node& second = graph_.nodes[b];
      const bool gpus = first.kind == NodeKind::kGpu && second.kind == NodeKind::kGpu;
      if (gpus && counts.first != counts.second)
        document_.note(counts.xml, fmt::format("{} has {} links to {}, which has {} back: taken as "
                                               "the larger",
                                               first.id, counts.first, second.id, counts.second));
      const Node& gpu = first.kind == NodeKind::kGpu ? first : second;
      const int64_t mbit_s = gpu_link_mbit_s(type, gpu, gpu.id == first.id ? second : first);
      for (const Node* end : {&first, &second}) note_unknown_arch(type, *end, counts.xml);
      const int64_t count = std::max(counts.first, counts.second);
      check_room(counts.xml, static_cast<size_t>(count));
      for (int64_t i = 0; i < count; ++i) add_link(graph_, a, b, type, mbit_s);
    }
  }

  void note_unknown_arch(LinkType type, const Node& node, pugi::xml_node link) {
    bool known = true;
    if (node.kind != NodeKind::kGpu) return;
    const int64_t mbit_s = gpu_link_mbit_s(type, node.attributes.arch, &known);
    if (known || !noted_.insert({type, node.attributes.arch}).second) return;
    document_.note(link, fmt::format("joins a GPU of architecture \"{}\", which is not known: "
                                     "taken as the slowest that is, {} Mbit/s a link",
                                     node.attributes.arch, mbit_s));
  }

  void add_c2c_links() {
    for (const auto& [c2c, count] : c2c_) {
      const auto& [gpu, numa, mbit_s] = c2c;
      check_room(document_.root(), static_cast<size_t>(count));
      for (int64_t i = 0; i < count; ++i) add_link(graph_, gpu, numa, LinkType::kC2c, mbit_s);
    }
  }

  Document& document_;
  Graph& graph_;
  const Tree& tree_;
  int32_t switch_ = -1;
  std::map<Pair, Counts> gpu_links_;
  std::map<C2c, int64_t> c2c_;
  std::set<std::pair<LinkType, std::string>> noted_;
};

}  // namespace

void read_links(Document& document, const Tree& tree) { LinkReader(document, tree).read(); }

}  // namespace tutti::topology::nccl
