// SPDX-License-Identifier: Apache-2.0
// An InfiniBand subnet as its management sees it, made into a graph; the common part of whatever
// finds out about one.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "topology/report.h"

namespace tutti::topology {

enum class IbKind : uint8_t { kSwitch, kChannelAdapter, kRouter };

struct IbPort {
  int32_t number = 0;  // from 1
  int32_t peer = 0;    // index in IbFabric::nodes
  int32_t peer_port = 0;
  int64_t mbit_s = kUnknown;
};

struct IbNode {
  IbKind kind = IbKind::kSwitch;
  uint64_t guid = 0;
  std::string description;    // "node7 mlx5_0" on a host that names its adapters
  std::vector<IbPort> ports;  // the connected ones, each number once
};

// GUIDs are unique. LIDs are left out: they are the subnet manager's, and change.
struct IbFabric {
  std::vector<IbNode> nodes;
};

// A cluster "fabric": machines, each with a NIC for each connected port of its adapters ("HOST/nic:
// mlx5_0:1"), and switches ("switch:GUID") with their level; each cable is one link. Who described
// the fabric, in which order, makes no difference to the result. Adapters are grouped by the host
// name that their description begins with; one without is a machine of its own. The adapter inside
// a switch with which it reduces (SHARP) is no NIC but makes the switch one that reduces. Routers,
// and cables whose ends are one port or contradict each other, are left out with a note.
Report fabric_report(const IbFabric& fabric, std::string_view source);

// The cluster of `fabric` with the machine that is `host` (one of its NICs has the GUID and the
// port of one of host's; failing that, it has host's name) replaced by all that is known of host.
// Throws InvalidArgument when host's root is not a machine or the fabric's not a cluster.
Report join_fabric(const Report& host, const Report& fabric);

// "0002:c903:00fa:0b10", as the kernel writes it.
std::string guid_text(uint64_t guid);

}  // namespace tutti::topology
