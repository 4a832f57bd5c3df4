// SPDX-License-Identifier: Apache-2.0
// Repeats a box, and joins its NICs through switches.
#include "topology/synthetic/fabric.h"

#include <algorithm>
#include <string>
#include <vector>

#include <spdlog/fmt/fmt.h>

#include "src/base/error.h"

namespace tutti::topology {
namespace {

using Kind = Fabric::Kind;

// Switches that NICs are plugged into, and which: by NIC, in node order.
struct Leaves {
  std::vector<std::string> ids;
  std::vector<size_t> of_nic;
  int64_t ports = 0;  // down, of each
};

Graph repeat(const Graph& box, int64_t boxes) {
  Graph graph;
  graph.nodes.reserve(box.nodes.size() * boxes + 1);
  graph.links.reserve(box.links.size() * boxes);
  add_node(graph, "cluster", NodeKind::kCluster, -1);
  for (int64_t i = 0; i < boxes; ++i) {
    const auto first = static_cast<int32_t>(graph.nodes.size());
    const std::string machine = box.nodes[0].id + std::to_string(i);
    for (const Node& node : box.nodes) {
      const bool root = node.parent < 0;
      add_node(graph, root ? machine : machine + "/" + node.id, node.kind,
               root ? 0 : first + node.parent, node.attributes);
    }
    for (Link link : box.links) {
      link.from += first;
      link.to += first;
      graph.links.push_back(link);
    }
  }
  return graph;
}

Leaves numbered_leaves(size_t nics, int64_t ports) {
  Leaves leaves{.ports = ports};
  for (size_t i = 0; i < nics; ++i) leaves.of_nic.push_back(i / ports);
  for (size_t l = 0; l <= leaves.of_nic.back(); ++l) leaves.ids.push_back(fmt::format("leaf{}", l));
  return leaves;
}

// `ports` 0: one switch per rail, with as many as it takes.
Leaves rail_leaves(const Graph& graph, const std::vector<int32_t>& nics, int64_t ports) {
  std::vector<std::vector<size_t>> nics_of_rail;
  for (size_t i = 0; i < nics.size(); ++i) {
    const auto rail = static_cast<size_t>(graph.nodes[nics[i]].attributes.rail);
    if (nics_of_rail.size() <= rail) nics_of_rail.resize(rail + 1);
    nics_of_rail[rail].push_back(i);
  }
  size_t most = 0;
  for (const std::vector<size_t>& members : nics_of_rail) most = std::max(most, members.size());
  Leaves leaves{.of_nic = std::vector<size_t>(nics.size()),
                .ports = ports == 0 ? static_cast<int64_t>(most) : ports};
  const bool several = static_cast<int64_t>(most) > leaves.ports;
  for (size_t rail = 0; rail < nics_of_rail.size(); ++rail) {
    const size_t first = leaves.ids.size();
    for (size_t i = 0; i < nics_of_rail[rail].size(); ++i) {
      const size_t leaf = i / leaves.ports;
      if (first + leaf == leaves.ids.size())
        leaves.ids.push_back(several ? fmt::format("rail{}-leaf{}", rail, leaf)
                                     : fmt::format("rail{}", rail));
      leaves.of_nic[nics_of_rail[rail][i]] = first + leaf;
    }
  }
  return leaves;
}

Leaves leaves_of(const Graph& graph, const std::vector<int32_t>& nics, int64_t boxes,
                 const Fabric& fabric) {
  switch (fabric.kind) {
    case Kind::kFlat:
      return {{"switch0"}, std::vector<size_t>(nics.size(), 0), static_cast<int64_t>(nics.size())};
    case Kind::kFatTree: {
      const int64_t per_box = static_cast<int64_t>(nics.size()) / boxes;
      return numbered_leaves(nics.size(), fabric.leaf_ports == 0 ? per_box : fabric.leaf_ports);
    }
    case Kind::kRailSpine:
      return rail_leaves(graph, nics, fabric.leaf_ports);
    case Kind::kDefault:
    case Kind::kRail:
      break;
  }
  return rail_leaves(graph, nics, 0);
}

[[noreturn]] void refuse(const std::string& reason) {
  throw Error(StatusCode::kInvalidArgument, "synthetic machine: " + reason);
}

int64_t uplink_mbit_s(const Fabric& fabric, int64_t ports, int64_t port_mbit_s) {
  const int64_t down = ports * port_mbit_s * fabric.oversubscription_divisor;
  const int64_t parts = fabric.oversubscription * fabric.spines;
  if (down % parts != 0)
    refuse(
        fmt::format("\"oversubscription={:.6g}\": expected whole Mbit/s for each uplink, got {} "
                    "ports of {} Mbit/s on each leaf, over {} spines",
                    static_cast<double>(fabric.oversubscription) /
                        static_cast<double>(fabric.oversubscription_divisor),
                    ports, port_mbit_s, fabric.spines));
  return down / parts;
}

int32_t add_switch(Graph& graph, std::string id, int64_t number, bool sharp) {
  return add_node(graph, std::move(id), NodeKind::kNetSwitch, 0,
                  {.os_index = number, .reduces = sharp, .multicasts = sharp});
}

void add_spines(Graph& graph, const Fabric& fabric, const std::vector<int32_t>& leaves,
                int64_t mbit_s) {
  const auto first = static_cast<int32_t>(graph.nodes.size());
  for (int64_t s = 0; s < fabric.spines; ++s)
    add_switch(graph, fmt::format("spine{}", s), s, fabric.sharp);
  for (const int32_t leaf : leaves)
    for (int32_t s = 0; s < fabric.spines; ++s)
      add_link(graph, leaf, first + s, LinkType::kNetwork, mbit_s);
}

}  // namespace

Graph build_cluster(const Graph& box, int64_t boxes, const Fabric& fabric) {
  Graph graph = repeat(box, boxes);
  const std::vector<int32_t> nics = nodes_of_kind(graph, NodeKind::kNic);
  const Leaves leaves = leaves_of(graph, nics, boxes, fabric);
  constexpr size_t kMostUplinks = size_t{1} << 20;
  if (fabric.has_spines() && leaves.ids.size() * fabric.spines > kMostUplinks)
    refuse(
        fmt::format("expected at most {} links between leaves and spines, got {} leaves and {} "
                    "spines",
                    kMostUplinks, leaves.ids.size(), fabric.spines));
  std::vector<int32_t> switches;
  for (size_t l = 0; l < leaves.ids.size(); ++l)
    switches.push_back(add_switch(graph, leaves.ids[l], static_cast<int64_t>(l), fabric.sharp));
  for (size_t i = 0; i < nics.size(); ++i)
    add_link(graph, nics[i], switches[leaves.of_nic[i]], LinkType::kNetwork,
             graph.nodes[nics[i]].attributes.speed_mbit_s);
  if (fabric.has_spines())
    add_spines(graph, fabric, switches,
               uplink_mbit_s(fabric, leaves.ports, graph.nodes[nics[0]].attributes.speed_mbit_s));
  return graph;
}

}  // namespace tutti::topology
