// SPDX-License-Identifier: Apache-2.0
// Names, invariants and identity of topology graphs.
#include "topology/graph.h"

#include <algorithm>
#include <charconv>
#include <iterator>
#include <unordered_set>
#include <utility>

#include <spdlog/fmt/fmt.h>

#include "src/base/error.h"
#include "src/base/hash.h"

namespace tutti::topology {
namespace {

constexpr AttributeRow kAttributes[] = {
    {"os_index", &Attributes::os_index},
    {"model", &Attributes::model},
    {"arch", &Attributes::arch},
    {"host_id", &Attributes::host_id},
    {"cpus", &Attributes::cpus},
    {"usable_cpus", &Attributes::usable_cpus},
    {"memory_bytes", &Attributes::memory_bytes},
    {"cache_level", &Attributes::cache_level},
    {"cache_bytes", &Attributes::cache_bytes},
    {"l1d_bytes", &Attributes::l1d_bytes},
    {"l2_bytes", &Attributes::l2_bytes},
    {"l3_bytes", &Attributes::l3_bytes},
    {"pci_address", &Attributes::pci_address},
    {"pci_class", &Attributes::pci_class},
    {"pci_id", &Attributes::pci_id},
    {"device", &Attributes::device},
    {"verbs_device", &Attributes::verbs_device},
    {"guid", &Attributes::guid},
    {"port", &Attributes::port},
    {"speed_mbit_s", &Attributes::speed_mbit_s},
    {"rail", &Attributes::rail},
    {"level", &Attributes::level},
    {"reduces", &Attributes::reduces},
    {"multicasts", &Attributes::multicasts},
};

// In the order of the enumerators.
constexpr const char* kKindNames[] = {"cluster", "machine", "package",     "numa",
                                      "cache",   "core",    "host_bridge", "pci_switch",
                                      "gpu",     "nic",     "nvswitch",    "net_switch"};
static_assert(std::size(kKindNames) == static_cast<size_t>(NodeKind::kNetSwitch) + 1);
constexpr const char* kTypeNames[] = {"memory", "smp", "pcie", "nvlink", "xgmi", "c2c", "network"};
static_assert(std::size(kTypeNames) == static_cast<size_t>(LinkType::kNetwork) + 1);

template <typename Enum, size_t n>
std::optional<Enum> parse_name(std::string_view text, const char* const (&names)[n]) {
  const auto* found = std::find(std::begin(names), std::end(names), text);
  if (found == std::end(names)) return std::nullopt;
  return static_cast<Enum>(found - std::begin(names));
}

[[noreturn]] void refuse(std::string message) {
  throw Error(StatusCode::kInvalidArgument, std::move(message));
}

void validate_node(const Graph& graph, size_t index, std::unordered_set<std::string_view>& ids) {
  const Node& node = graph.nodes[index];
  if (node.id.empty()) refuse(fmt::format("topology: node {} has an empty id", index));
  if (!ids.insert(node.id).second)
    refuse(fmt::format("topology: two nodes have the id \"{}\"; ids must be unique", node.id));
  const bool root = index == 0;
  if (root ? node.parent != -1 : node.parent < 0 || node.parent >= static_cast<int32_t>(index))
    refuse(
        fmt::format("topology: node \"{}\" has parent {}; node 0 has none and every other node "
                    "comes after its parent",
                    node.id, node.parent));
  const bool root_kind = node.kind == NodeKind::kMachine || node.kind == NodeKind::kCluster;
  if (root && !root_kind)
    refuse(fmt::format("topology: the first node, \"{}\", is a {}; expected a machine or a cluster",
                       node.id, to_text(node.kind)));
}

void validate_link(const Graph& graph, size_t index) {
  const Link& link = graph.links[index];
  const auto count = static_cast<int32_t>(graph.nodes.size());
  if (link.from < 0 || link.from >= count || link.to < 0 || link.to >= count)
    refuse(fmt::format("topology: link {} joins nodes {} and {}; there are {} nodes", index,
                       link.from, link.to, count));
  if (link.from == link.to)
    refuse(fmt::format("topology: link {} joins \"{}\" with itself", index,
                       graph.nodes[link.from].id));
  if (std::min({link.forward_mbit_s, link.reverse_mbit_s, link.latency_ns}) < kUnknown)
    refuse(fmt::format(
        "topology: link {} between \"{}\" and \"{}\" has a negative bandwidth or latency", index,
        graph.nodes[link.from].id, graph.nodes[link.to].id));
}

}  // namespace

std::span<const AttributeRow> attribute_table() { return kAttributes; }

int32_t add_node(Graph& graph, std::string id, NodeKind kind, int32_t parent,
                 Attributes attributes) {
  graph.nodes.push_back({std::move(id), kind, parent, std::move(attributes)});
  return static_cast<int32_t>(graph.nodes.size()) - 1;
}

int32_t add_link(Graph& graph, int32_t from, int32_t to, LinkType type, int64_t mbit_s_each_way,
                 int64_t latency_ns) {
  graph.links.push_back({from, to, type, mbit_s_each_way, mbit_s_each_way, latency_ns});
  return static_cast<int32_t>(graph.links.size()) - 1;
}

void validate(const Graph& graph) {
  if (graph.nodes.empty()) refuse("topology: the graph has no nodes; expected at least a machine");
  std::unordered_set<std::string_view> ids;
  std::vector<int> depth(graph.nodes.size(), 1);
  for (size_t i = 0; i < graph.nodes.size(); ++i) {
    validate_node(graph, i, ids);
    if (i > 0) depth[i] = depth[graph.nodes[i].parent] + 1;
    if (depth[i] > kMaxDepth)
      refuse(fmt::format("topology: node \"{}\" is more than {} levels deep", graph.nodes[i].id,
                         kMaxDepth));
  }
  for (size_t i = 0; i < graph.links.size(); ++i) validate_link(graph, i);
}

uint64_t hash(const Graph& graph) {
  Hasher hasher;
  const auto add = [&hasher](const auto& value) {
    if constexpr (std::is_convertible_v<decltype(value), std::string_view>) {
      hasher.text(value);
    } else {
      hasher.value(value);
    }
  };
  hasher.value(graph.nodes.size());
  for (const Node& node : graph.nodes) {
    add(node.id);
    add(node.kind);
    add(node.parent);
    for (const AttributeRow& row : kAttributes)
      std::visit([&](auto field) { add(node.attributes.*field); }, row.field);
  }
  hasher.value(graph.links.size());
  for (const Link& link : graph.links) {
    add(link.from);
    add(link.to);
    add(link.type);
    add(link.forward_mbit_s);
    add(link.reverse_mbit_s);
    add(link.latency_ns);
  }
  return hasher.finish();
}

std::optional<int32_t> find_node(const Graph& graph, std::string_view id) {
  const auto found = std::find_if(graph.nodes.begin(), graph.nodes.end(),
                                  [&](const Node& node) { return node.id == id; });
  if (found == graph.nodes.end()) return std::nullopt;
  return static_cast<int32_t>(found - graph.nodes.begin());
}

std::vector<int32_t> nodes_of_kind(const Graph& graph, NodeKind kind) {
  std::vector<int32_t> found;
  for (size_t i = 0; i < graph.nodes.size(); ++i)
    if (graph.nodes[i].kind == kind) found.push_back(static_cast<int32_t>(i));
  return found;
}

std::vector<std::vector<int32_t>> children(const Graph& graph) {
  std::vector<std::vector<int32_t>> result(graph.nodes.size());
  for (size_t i = 0; i < graph.nodes.size(); ++i)
    if (graph.nodes[i].parent >= 0)
      result[graph.nodes[i].parent].push_back(static_cast<int32_t>(i));
  return result;
}

const char* to_text(NodeKind kind) { return kKindNames[static_cast<size_t>(kind)]; }
const char* to_text(LinkType type) { return kTypeNames[static_cast<size_t>(type)]; }
std::optional<NodeKind> parse_node_kind(std::string_view text) {
  return parse_name<NodeKind>(text, kKindNames);
}
std::optional<LinkType> parse_link_type(std::string_view text) {
  return parse_name<LinkType>(text, kTypeNames);
}
std::string node_kind_names() { return fmt::format("{}", fmt::join(kKindNames, ", ")); }
std::string link_type_names() { return fmt::format("{}", fmt::join(kTypeNames, ", ")); }

std::vector<int32_t> parse_cpu_list(std::string_view text) {
  constexpr int32_t kMaxCpu = 1 << 16;  // far above what kernels support
  const auto bad = [text] {
    refuse(fmt::format("\"{}\" is not a list of CPUs; expected for example 0-3,8", text));
  };
  const char* at = text.data();
  const char* const end = at + text.size();
  const auto number = [&] {
    int32_t value = -1;
    const auto [next, error] = std::from_chars(at, end, value);
    if (error != std::errc{} || value < 0 || value > kMaxCpu) bad();
    at = next;
    return value;
  };
  std::vector<int32_t> cpus;
  while (at != end) {
    const int32_t first = number();
    int32_t last = first;
    if (at != end && *at == '-') {
      ++at;
      last = number();
    }
    if (last < first || (!cpus.empty() && first <= cpus.back())) bad();
    for (int32_t cpu = first; cpu <= last; ++cpu) cpus.push_back(cpu);
    if (at == end) break;
    if (*at != ',' || ++at == end) bad();
  }
  return cpus;
}

std::string cpu_list(std::vector<int32_t> cpus) {
  std::sort(cpus.begin(), cpus.end());
  cpus.erase(std::unique(cpus.begin(), cpus.end()), cpus.end());
  std::string text;
  for (size_t i = 0; i < cpus.size();) {
    size_t last = i;
    while (last + 1 < cpus.size() && cpus[last + 1] == cpus[last] + 1) ++last;
    if (!text.empty()) text += ',';
    text += last == i ? fmt::format("{}", cpus[i]) : fmt::format("{}-{}", cpus[i], cpus[last]);
    i = last + 1;
  }
  return text;
}

}  // namespace tutti::topology
