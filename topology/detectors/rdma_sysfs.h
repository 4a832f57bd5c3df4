// SPDX-License-Identifier: Apache-2.0
// RDMA devices (InfiniBand, RoCE, iWARP) as the kernel lists them in sysfs; needs no verbs library.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "topology/detectors/hwloc_detector.h"
#include "topology/detectors/system_files.h"
#include "topology/report.h"

namespace tutti::topology {

struct RdmaGid {
  int index = 0;
  std::string gid;        // "fe80:0000:0000:0000:0e42:a1ff:fe0a:0000"
  std::string type;       // "IB/RoCE v1", "RoCE v2"; "" when the kernel does not tell
  std::string interface;  // network interface of a RoCE GID
  bool operator==(const RdmaGid&) const = default;
};

struct RdmaPort {
  int number = 0;
  std::string state;       // "ACTIVE", "DOWN", ...; "" when not known
  std::string link_layer;  // "InfiniBand", "Ethernet"
  Rate rate;
  std::vector<RdmaGid> gids;  // those in use, by index; the first kMaxGids of them
};

// GID tables have up to some hundreds of entries, one for each address of an interface.
inline constexpr size_t kMaxGids = 16;

struct RdmaDevice {
  std::string name;                   // "mlx5_0"
  std::string node_guid;              // "0c42:a103:000a:0000"
  std::vector<std::string> pci_path;  // from the host bridge, "0000:40", down to the device itself
  int64_t numa_node = kUnknown;
  std::string interface;  // of software RDMA: the interface that it is on
  std::vector<RdmaPort> ports;

  std::string pci_address() const { return pci_path.empty() ? "" : pci_path.back(); }
};

// Sorted by name.
std::vector<RdmaDevice> read_rdma_devices(const SystemFiles& files);

// Tells the NIC nodes of a machine's report which RDMA ports they are: verbs device, port, GUID and
// speed. A device that the report lacks gets a node at its place on PCI. What is missing or of no
// use (a port that is down, software RDMA on an unknown interface) is noted.
void add_rdma_devices(const SystemFiles& files, Report& report);

}  // namespace tutti::topology
