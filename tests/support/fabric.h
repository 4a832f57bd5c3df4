// SPDX-License-Identifier: Apache-2.0
// Networks of hosts and switches for tests of whatever needs a topology with routes.
#pragma once

#include <cstdint>
#include <vector>

#include <spdlog/fmt/fmt.h>

#include "topology/graph.h"

namespace tutti::testing {

struct Fabric {
  topology::Graph graph;
  std::vector<int32_t> hosts;  // their nodes, in order
};

inline constexpr int64_t kMbitPerBytePerNs = 8000;

// Every host on one switch.
inline Fabric star(int32_t hosts, int64_t mbit_s, int64_t hop_latency_ns) {
  Fabric fabric;
  topology::Graph& graph = fabric.graph;
  add_node(graph, "cluster", topology::NodeKind::kCluster, -1);
  const int32_t center = add_node(graph, "switch", topology::NodeKind::kNetSwitch, 0);
  for (int32_t i = 0; i < hosts; ++i) {
    fabric.hosts.push_back(
        add_node(graph, fmt::format("host{}", i), topology::NodeKind::kMachine, 0));
    add_link(graph, fabric.hosts.back(), center, topology::LinkType::kNetwork, mbit_s,
             hop_latency_ns);
  }
  return fabric;
}

struct FatTree {
  int32_t leaves = 1;
  int32_t hosts_per_leaf = 1;
  int32_t spines = 1;
  int64_t host_mbit_s = 0;
  int64_t uplink_mbit_s = 0;  // of a leaf to each spine
  int64_t host_latency_ns = 0;
  int64_t uplink_latency_ns = 0;
};

// Two levels of switches; hosts are numbered leaf by leaf.
inline Fabric fat_tree(const FatTree& shape) {
  Fabric fabric;
  topology::Graph& graph = fabric.graph;
  add_node(graph, "cluster", topology::NodeKind::kCluster, -1);
  std::vector<int32_t> spines;
  for (int32_t s = 0; s < shape.spines; ++s)
    spines.push_back(add_node(graph, fmt::format("spine{}", s), topology::NodeKind::kNetSwitch, 0));
  for (int32_t l = 0; l < shape.leaves; ++l) {
    const int32_t leaf =
        add_node(graph, fmt::format("leaf{}", l), topology::NodeKind::kNetSwitch, 0);
    for (const int32_t spine : spines)
      add_link(graph, leaf, spine, topology::LinkType::kNetwork, shape.uplink_mbit_s,
               shape.uplink_latency_ns);
    for (int32_t h = 0; h < shape.hosts_per_leaf; ++h) {
      const auto number = static_cast<int32_t>(fabric.hosts.size());
      fabric.hosts.push_back(
          add_node(graph, fmt::format("host{}", number), topology::NodeKind::kMachine, 0));
      add_link(graph, fabric.hosts.back(), leaf, topology::LinkType::kNetwork, shape.host_mbit_s,
               shape.host_latency_ns);
    }
  }
  return fabric;
}

}  // namespace tutti::testing
