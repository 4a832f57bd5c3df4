// SPDX-License-Identifier: Apache-2.0
// Merges host graphs by host identity, then by part id.
#include "topology/merge.h"

#include <algorithm>
#include <cstdint>
#include <map>
#include <string>
#include <tuple>
#include <unordered_map>
#include <utility>
#include <vector>

#include <spdlog/fmt/fmt.h>

#include "src/base/error.h"

namespace tutti::topology {
namespace {

// What is being built, with the look-ups that keep a merge of many hosts linear.
struct Merger {
  Report result;
  std::unordered_map<std::string, int32_t> index_of_id;
  std::unordered_map<std::string, std::string> machine_of_host;  // host_id → id of its machine node
  using LinkKey = std::tuple<int32_t, int32_t, LinkType>;        // from, to, type
  std::map<LinkKey, std::vector<int32_t>> links_between;

  void note(const std::string& id, const char* what) {
    result.notes.push_back(
        {"merge",
         fmt::format("{}: two processes of this host disagree on {}; the first one's value is kept",
                     id, what)});
  }

  void unite(const std::string& id, Attributes& into, const Attributes& from) {
    static const Attributes unset;
    for (const AttributeRow& row : attribute_table())
      std::visit(
          [&](auto field) {
            if (from.*field == unset.*field || into.*field == from.*field) return;
            if (into.*field == unset.*field) {
              into.*field = from.*field;
            } else {
              note(id, row.name);
            }
          },
          row.field);
  }

  // Usable CPUs are per process and unite; everything else must agree.
  void unite_node(Node& into, const Node& from) {
    if (into.kind != from.kind) return note(into.id, "its kind");
    Attributes other = from.attributes;
    std::vector<int32_t> usable = parse_cpu_list(into.attributes.usable_cpus);
    const std::vector<int32_t> more = parse_cpu_list(other.usable_cpus);
    usable.insert(usable.end(), more.begin(), more.end());
    into.attributes.usable_cpus = other.usable_cpus = cpu_list(std::move(usable));
    unite(into.id, into.attributes, other);
  }

  // The id of the machine node that this report's host has or gets.
  std::string machine_id(const Node& machine) {
    const std::string& host = machine.attributes.host_id;
    if (!host.empty())
      if (const auto known = machine_of_host.find(host); known != machine_of_host.end())
        return known->second;
    std::string id = machine.id;
    for (int copy = 2; index_of_id.contains(id); ++copy)
      id = fmt::format("{}.{}", machine.id, copy);
    if (!host.empty()) machine_of_host.emplace(host, id);
    return id;
  }

  int32_t place(std::string id, const Node& node, int32_t parent) {
    const auto [found, added] =
        index_of_id.emplace(id, static_cast<int32_t>(result.graph.nodes.size()));
    if (!added)
      unite_node(result.graph.nodes[found->second], node);
    else
      add_node(result.graph, std::move(id), node.kind, parent, node.attributes);
    return found->second;
  }

  // A report's nth link between two parts is the nth that is known there.
  void place_link(const Link& link, std::map<LinkKey, size_t>& seen) {
    const LinkKey key{link.from, link.to, link.type};
    std::vector<int32_t>& known = links_between[key];
    const size_t nth = seen[key]++;
    if (nth >= known.size()) {
      known.push_back(static_cast<int32_t>(result.graph.links.size()));
      result.graph.links.push_back(link);
      return;
    }
    Link& into = result.graph.links[known[nth]];
    const auto unite_value = [&](int64_t& value, int64_t other, const char* what) {
      if (value == kUnknown) value = other;
      if (other != kUnknown && other != value)
        note(result.graph.nodes[link.from].id + " to " + result.graph.nodes[link.to].id, what);
    };
    unite_value(into.forward_mbit_s, link.forward_mbit_s, "bandwidth");
    unite_value(into.reverse_mbit_s, link.reverse_mbit_s, "reverse bandwidth");
    unite_value(into.latency_ns, link.latency_ns, "latency");
  }

  void add_report(const Report& report) {
    const std::vector<Node>& nodes = report.graph.nodes;
    const std::string prefix = machine_id(nodes[0]);
    std::vector<int32_t> place_of(nodes.size());
    place_of[0] = place(prefix, nodes[0], 0);
    for (size_t i = 1; i < nodes.size(); ++i)
      place_of[i] = place(prefix + "/" + nodes[i].id, nodes[i], place_of[nodes[i].parent]);
    std::map<LinkKey, size_t> seen;
    for (Link link : report.graph.links) {
      link.from = place_of[link.from];
      link.to = place_of[link.to];
      place_link(link, seen);
    }
    for (const Note& note : report.notes) {
      const Note named{note.source, prefix + ": " + note.text};
      if (std::find(result.notes.begin(), result.notes.end(), named) == result.notes.end())
        result.notes.push_back(named);
    }
  }
};

}  // namespace

Report merge_hosts(std::span<const Report> reports) {
  if (reports.empty())
    throw Error(StatusCode::kInvalidArgument, "topology: no host to merge; expected at least one");
  Merger merger;
  add_node(merger.result.graph, "cluster", NodeKind::kCluster, -1);
  merger.index_of_id.emplace("cluster", 0);
  for (const Report& report : reports) {
    validate(report.graph);
    const Node& root = report.graph.nodes[0];
    if (root.kind != NodeKind::kMachine)
      throw Error(StatusCode::kInvalidArgument,
                  fmt::format("topology: can't merge \"{}\", a {}; expected a machine", root.id,
                              to_text(root.kind)));
    merger.add_report(report);
  }
  return std::move(merger.result);
}

}  // namespace tutti::topology
