// SPDX-License-Identifier: Apache-2.0
// A machine or a cluster as pure data: a tree of parts, and the links that carry bytes between
// them.
#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <variant>
#include <vector>

namespace tutti::topology {

// Integers that were not detected or not stated. Never 0: a link of 0 Mbit/s is one that is down.
inline constexpr int64_t kUnknown = -1;

// Bandwidths are whole Mbit/s in each direction, so that a planner can compute with them exactly.
inline constexpr int64_t kMbitPerGigabyte = 8000;

enum class NodeKind : uint8_t {
  kCluster,
  kMachine,
  kPackage,
  kNuma,   // a NUMA node: memory and the hub through which its cores and host bridges reach it
  kCache,  // a cache that several cores share; a core's private caches are its attributes
  kCore,
  kHostBridge,  // where a PCI hierarchy begins
  kPciSwitch,
  kGpu,
  kNic,        // one network port
  kNvSwitch,   // all the switch chips that one GPU box uses as one
  kNetSwitch,  // InfiniBand or Ethernet
};

enum class LinkType : uint8_t { kMemory, kSmp, kPcie, kNvLink, kXgmi, kC2c, kNetwork };

// What is known of a node beside its place. kUnknown, "" and false mean "not known" or "does not
// apply". Each field has a row in attribute_table(), which is what the file formats and the
// printers go by.
struct Attributes {
  int64_t os_index = kUnknown;
  std::string model;
  std::string arch;
  std::string host_id;      // equal on two machine nodes when they are the same host
  std::string cpus;         // logical CPUs as the kernel lists them: "0-3,8"
  std::string usable_cpus;  // those of `cpus` that the detecting process may run on
  int64_t memory_bytes = kUnknown;
  int64_t cache_level = kUnknown;
  int64_t cache_bytes = kUnknown;
  int64_t l1d_bytes = kUnknown;  // private caches of a core
  int64_t l2_bytes = kUnknown;
  int64_t l3_bytes = kUnknown;
  std::string pci_address;   // "0000:41:00.0"
  std::string pci_class;     // four hexadecimal digits: "0302"
  std::string pci_id;        // vendor and device: "10de:2330"
  std::string device;        // what the operating system calls it: "eth0", "card0"
  std::string verbs_device;  // a NIC's name in the verbs library: "mlx5_0"
  std::string guid;
  int64_t port = kUnknown;
  int64_t speed_mbit_s = kUnknown;  // of a NIC's port
  int64_t rail = kUnknown;          // NICs of equal rail meet in one switch
  int64_t level = kUnknown;         // of a network switch: 1 where NICs connect, 2 above, ...
  bool reduces = false;             // a switch that can add what flows through it (NVLS, SHARP)
  bool multicasts = false;          // a switch that can copy to many ports
  bool operator==(const Attributes&) const = default;
};

using AttributeField =
    std::variant<int64_t Attributes::*, std::string Attributes::*, bool Attributes::*>;
struct AttributeRow {
  const char* name;
  AttributeField field;
};
std::span<const AttributeRow> attribute_table();

struct Node {
  std::string id;  // unique in the graph; "host/part" in a cluster
  NodeKind kind = NodeKind::kMachine;
  int32_t parent = -1;  // index of a node before this one; -1 for the root only
  Attributes attributes;
  bool operator==(const Node&) const = default;
};

// Full duplex between two nodes, each way with a capacity of its own (a degraded link may be slower
// one way).
struct Link {
  int32_t from = 0;
  int32_t to = 0;
  LinkType type = LinkType::kPcie;
  int64_t forward_mbit_s = kUnknown;  // from → to; 0: down
  int64_t reverse_mbit_s = kUnknown;  // to → from
  int64_t latency_ns = kUnknown;      // one way
  bool operator==(const Link&) const = default;
};

// Nodes are listed parents first and the root, a machine or a cluster, is node 0; at most kMaxDepth
// levels. Containment says where a part is; only links carry bytes. Parallel links between two
// nodes are allowed and add up.
inline constexpr int kMaxDepth = 64;
struct Graph {
  std::vector<Node> nodes;
  std::vector<Link> links;
  bool operator==(const Graph&) const = default;
};

// Return the new node's or link's index. They check nothing; validate() does.
int32_t add_node(Graph& graph, std::string id, NodeKind kind, int32_t parent,
                 Attributes attributes = {});
int32_t add_link(Graph& graph, int32_t from, int32_t to, LinkType type,
                 int64_t mbit_s_each_way = kUnknown, int64_t latency_ns = kUnknown);

// Throws InvalidArgument naming the node or link when the graph breaks an invariant stated above.
void validate(const Graph& graph);

// Of ids, kinds, attributes and links in their order: equal graphs, on any machine, hash alike.
uint64_t hash(const Graph& graph);

std::optional<int32_t> find_node(const Graph& graph, std::string_view id);
std::vector<int32_t> nodes_of_kind(const Graph& graph, NodeKind kind);
// For each node its children, in their order.
std::vector<std::vector<int32_t>> children(const Graph& graph);

const char* to_text(NodeKind kind);
const char* to_text(LinkType type);
std::optional<NodeKind> parse_node_kind(std::string_view text);
std::optional<LinkType> parse_link_type(std::string_view text);
std::string node_kind_names();  // "cluster, machine, ..." for messages
std::string link_type_names();

// "0-3,8" as numbers, ascending, and back. parse_cpu_list throws InvalidArgument on anything else.
std::vector<int32_t> parse_cpu_list(std::string_view text);
std::string cpu_list(std::vector<int32_t> cpus);

}  // namespace tutti::topology
