// SPDX-License-Identifier: Apache-2.0
// Makes a forest of a machine's parts: CPUs, bridges and PCIe switches, GPUs, NICs.
#include "topology/formats/svg/parts.h"

#include <algorithm>
#include <array>
#include <utility>

namespace tutti::topology::drawing {
namespace {

constexpr int kDevices = 3;  // rank of GPUs, below all that leads to memory

// A part hangs below one of lower rank.
int rank(NodeKind kind) {
  switch (kind) {
    case NodeKind::kHostBridge:
      return 1;
    case NodeKind::kPciSwitch:
      return 2;
    case NodeKind::kGpu:
      return kDevices;
    case NodeKind::kNic:
      return kDevices + 1;
    default:
      return 0;
  }
}

class PartChooser {
 public:
  PartChooser(const Index& index, int32_t machine, const Limits& limits)
      : index_(index), machine_(machine), limits_(limits) {}

  Parts choose() {
    for (const int32_t node : index_.parts(machine_)) add(node);
    for (const int32_t node : index_.parts(machine_)) merge(node);
    const auto n_parts = static_cast<int32_t>(result_.parts.size());
    for (int32_t p = 0; p < n_parts; ++p) hang(p);
    std::stable_partition(result_.roots.begin(), result_.roots.end(),
                          [&](int32_t p) { return is_cpu(result_.parts[p].kind); });
    result_.roots = limited(result_.roots);
    for (const int32_t root : result_.roots) {
      const Part& part = result_.parts[root];
      if (rank(part.kind) <= 1 && (part.kind == NodeKind::kHostBridge || !part.below.empty()))
        result_.cpus_on_top = true;
    }
    return std::move(result_);
  }

 private:
  const Attributes& attributes(int32_t node) const { return index_.graph.nodes[node].attributes; }

  int32_t new_part(NodeKind kind, int32_t node) {
    result_.parts.push_back({.kind = kind, .node = node});
    return static_cast<int32_t>(result_.parts.size()) - 1;
  }

  void add(int32_t node) {
    const NodeKind kind = index_.kind(node);
    const bool drawn = kind == NodeKind::kNuma || rank(kind) > 0 || kind == NodeKind::kNvSwitch ||
                       (kind == NodeKind::kPackage && !has_numa(node));
    if (!drawn) return;
    const int32_t part = new_part(kind, node);
    result_.part_of[node] = part;
    if (kind == NodeKind::kNvSwitch) result_.nvswitches.push_back(part);
  }

  bool has_numa(int32_t package) const {
    return std::any_of(
        index_.parts(machine_).begin(), index_.parts(machine_).end(),
        [&](int32_t n) { return index_.kind(n) == NodeKind::kNuma && inside(n, package); });
  }

  bool inside(int32_t node, int32_t of) const {
    for (; node >= 0; node = index_.graph.nodes[node].parent)
      if (node == of) return true;
    return false;
  }

  // Packages that are split into NUMA nodes, caches and cores.
  void merge(int32_t node) {
    if (result_.part_of.contains(node)) return;
    int32_t part = memory_of(node);
    for (int32_t up = index_.graph.nodes[node].parent; part < 0 && up >= 0 && up != machine_;
         up = index_.graph.nodes[up].parent)
      if (const auto found = result_.part_of.find(up); found != result_.part_of.end())
        part = found->second;
    if (part < 0) part = loose_cores();
    result_.parts[part].stands_for.push_back(node);
    result_.part_of[node] = part;
  }

  // The NUMA node in a package, or that a core is linked to.
  int32_t memory_of(int32_t node) const {
    if (index_.kind(node) == NodeKind::kPackage) {
      for (const auto& [other, part] : result_.part_of)
        if (index_.kind(other) == NodeKind::kNuma && inside(other, node)) return part;
      return -1;
    }
    for (const int32_t link : index_.links_at[node]) {
      const auto found = result_.part_of.find(index_.other_end(link, node));
      if (found != result_.part_of.end() && is_cpu(result_.parts[found->second].kind))
        return found->second;
    }
    return -1;
  }

  int32_t loose_cores() {
    if (loose_cores_ < 0) loose_cores_ = new_part(NodeKind::kCore, -1);
    return loose_cores_;
  }

  void hang(int32_t p) {
    Part& part = result_.parts[p];
    if (part.kind == NodeKind::kNvSwitch) return;
    part.up = part.node < 0 || is_cpu(part.kind) ? -1 : above(part);
    (part.up < 0 ? result_.roots : result_.parts[part.up].below).push_back(p);
  }

  int32_t above(const Part& part) const {
    int32_t best = -1;
    const auto parent = result_.part_of.find(index_.graph.nodes[part.node].parent);
    for (const int32_t link : index_.links_at[part.node]) {
      const int32_t node = index_.other_end(link, part.node);
      const auto found = result_.part_of.find(node);
      if (found == result_.part_of.end() || found->second == best) continue;
      const Part& other = result_.parts[found->second];
      if (found == parent && may_hang(part, other)) return found->second;
      if (other.kind == NodeKind::kPciSwitch && part.kind == other.kind) continue;
      if (!may_hang(part, other)) continue;
      if (best < 0 || closeness(other) > closeness(result_.parts[best])) best = found->second;
    }
    const bool by_place = best < 0 && parent != result_.part_of.end() &&
                          may_hang(part, result_.parts[parent->second]);
    return by_place ? parent->second : best;
  }

  // Only a PCIe switch may hang from its own kind, and only from the one that it is in.
  static bool may_hang(const Part& part, const Part& from) {
    if (from.kind == NodeKind::kNvSwitch) return false;
    const bool switches = part.kind == NodeKind::kPciSwitch && from.kind == part.kind;
    return switches || rank(from.kind) < rank(part.kind);
  }

  // A NIC next to a PCIe switch and a GPU is below the switch.
  static int closeness(const Part& part) { return rank(part.kind) % kDevices; }

  // Of many siblings of a kind the first three and the last stay; then those below them.
  std::vector<int32_t> limited(std::vector<int32_t> siblings) {
    constexpr size_t kFirst = 3;
    std::map<NodeKind, std::vector<int32_t>> by_kind;
    for (const int32_t p : siblings)
      if (result_.parts[p].node >= 0) by_kind[result_.parts[p].kind].push_back(p);
    for (const auto& [kind, members] : by_kind) {
      if (members.size() <= (is_cpu(kind) ? limits_.cpus : limits_.siblings)) continue;
      const int32_t more = new_part(kind, -1);
      result_.parts[more].more = true;
      for (size_t i = kFirst; i + 1 < members.size(); ++i) {
        hide(members[i], more);
        const auto at = std::find(siblings.begin(), siblings.end(), members[i]);
        if (i == kFirst)
          *at = more;
        else
          siblings.erase(at);
      }
    }
    for (const int32_t p : siblings) {
      std::vector<int32_t> below = limited(result_.parts[p].below);
      result_.parts[p].below = std::move(below);
    }
    return siblings;
  }

  void hide(int32_t p, int32_t more) {
    std::vector<int32_t> nodes = std::move(result_.parts[p].stands_for);
    nodes.push_back(result_.parts[p].node);
    for (const int32_t node : nodes) {
      result_.parts[more].stands_for.push_back(node);
      result_.part_of[node] = more;
    }
    for (const int32_t below : std::exchange(result_.parts[p].below, {})) hide(below, more);
  }

  const Index& index_;
  const int32_t machine_;
  const Limits& limits_;
  Parts result_;
  int32_t loose_cores_ = -1;
};

}  // namespace

bool is_cpu(NodeKind kind) { return rank(kind) == 0 && kind != NodeKind::kNvSwitch; }

Parts choose_parts(const Index& index, int32_t machine, const Limits& limits) {
  return PartChooser(index, machine, limits).choose();
}

}  // namespace tutti::topology::drawing
