// SPDX-License-Identifier: Apache-2.0
// Compares machines by all that a drawing shows of them but their names.
#include "topology/formats/svg/alike.h"

#include <algorithm>
#include <map>
#include <string>
#include <utility>

#include <spdlog/fmt/fmt.h>

namespace tutti::topology::drawing {
namespace {

class Signatures {
 public:
  Signatures(const Index& index, const Overlay& overlay)
      : index_(index), overlay_(overlay), local_(index.graph.nodes.size(), -1) {}

  std::string of(int32_t machine) {
    const std::vector<int32_t> nodes = subtree(index_, machine);
    for (size_t i = 0; i < nodes.size(); ++i) local_[nodes[i]] = static_cast<int32_t>(i);
    std::string text;
    for (const int32_t node : nodes) add_node(node, machine, text);
    for (const int32_t node : nodes) add_links(node, text);
    for (const int32_t node : nodes) local_[node] = -1;
    return text;
  }

 private:
  void add_node(int32_t node, int32_t machine, std::string& text) const {
    const Node& n = index_.graph.nodes[node];
    const Attributes& a = n.attributes;
    const bool cut = !overlay_.cut_nodes.empty() && overlay_.cut_nodes[node];
    text += fmt::format("{},{},{},{},{},{},{},{},{},{},{};", static_cast<int>(n.kind),
                        node == machine ? -1 : local_[n.parent], a.model, a.arch, a.memory_bytes,
                        a.cache_bytes, a.usable_cpus.empty(), a.speed_mbit_s, a.reduces,
                        a.multicasts, cut);
  }

  // Links that leave the machine by how many there are of a kind, whatever is at their other end.
  void add_links(int32_t node, std::string& text) const {
    std::vector<std::string> links;
    for (const int32_t l : index_.links_at[node]) {
      const Link& link = index_.graph.links[l];
      const bool forward = link.from == node;
      const bool bottleneck = !overlay_.links.empty() && overlay_.links[l].bottleneck;
      links.push_back(fmt::format("{},{},{},{},{};", local_[index_.other_end(l, node)],
                                  static_cast<int>(link.type),
                                  forward ? link.forward_mbit_s : link.reverse_mbit_s,
                                  forward ? link.reverse_mbit_s : link.forward_mbit_s, bottleneck));
    }
    std::sort(links.begin(), links.end());
    text += fmt::format("{}|", fmt::join(links, ""));
  }

  const Index& index_;
  const Overlay& overlay_;
  std::vector<int32_t> local_;  // by node: its number in the machine at hand
};

constexpr size_t kMostKinds = 3;  // of machines, that are drawn

}  // namespace

std::vector<int32_t> subtree(const Index& index, int32_t machine) {
  std::vector<int32_t> nodes = {machine};
  for (size_t i = 0; i < nodes.size(); ++i) {
    if (index.kind(nodes[i]) != NodeKind::kMachine) continue;
    const std::vector<int32_t>& parts = index.parts(nodes[i]);
    const std::vector<int32_t>& machines = index.machines(nodes[i]);
    nodes.insert(nodes.end(), parts.begin(), parts.end());
    nodes.insert(nodes.end(), machines.begin(), machines.end());
  }
  return nodes;
}

std::vector<Entry> choose_machines(const Index& index, const Overlay& overlay,
                                   const std::vector<int32_t>& machines, size_t most,
                                   size_t first) {
  std::vector<Entry> entries;
  if (machines.size() <= most) {
    for (const int32_t machine : machines) entries.push_back({machine, {}});
    return entries;
  }
  Signatures signatures(index, overlay);
  std::vector<std::vector<int32_t>> kinds;
  std::map<std::string, size_t> kind_of;
  for (const int32_t machine : machines) {
    const auto [found, is_new] = kind_of.emplace(signatures.of(machine), kinds.size());
    if (is_new) kinds.emplace_back();
    kinds[found->second].push_back(machine);
  }
  if (kinds.size() > 1) first = 1;
  Entry others{.machine = -1, .hidden = {}, .alike = false};
  for (size_t k = 0; k < kinds.size(); ++k) {
    const std::vector<int32_t>& members = kinds[k];
    if (k >= kMostKinds && kinds.size() > kMostKinds + 1) {
      others.hidden.insert(others.hidden.end(), members.begin(), members.end());
      continue;
    }
    const bool all = members.size() <= first + 2;
    for (size_t i = 0; i < (all ? members.size() : first); ++i) entries.push_back({members[i], {}});
    if (all) continue;
    entries.push_back(
        {-1, {members.begin() + static_cast<std::ptrdiff_t>(first), members.end() - 1}});
    entries.push_back({members.back(), {}});
  }
  if (!others.hidden.empty()) entries.push_back(std::move(others));
  const auto first_of = [](const Entry& e) { return e.machine < 0 ? e.hidden[0] : e.machine; };
  std::stable_sort(entries.begin(), entries.end(),
                   [&](const Entry& a, const Entry& b) { return first_of(a) < first_of(b); });
  return entries;
}

}  // namespace tutti::topology::drawing
