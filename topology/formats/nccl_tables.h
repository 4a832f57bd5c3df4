// SPDX-License-Identifier: Apache-2.0
// What NCCL and RCCL take the links of a machine to carry, by generation; all in Mbit/s one way.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

#include "topology/graph.h"

namespace tutti::topology::nccl {

// A PCIe link as the files write it.
struct PcieRate {
  std::string speed;  // "16.0 GT/s PCIe"; "" is not known
  std::string width;  // lanes
};
// Nothing when it is no generation or no width that PCIe has.
std::optional<int64_t> pcie_mbit_s(std::string_view speed, std::string_view width);
bool is_first_generation(std::string_view speed);
// The fastest that is not above `mbit_s`, or the slowest; where several are equal, not the first
// generation, which emulated bridges claim too.
PcieRate pcie_rate(int64_t mbit_s);

// One NVLink (arch "sm90") or xGMI link (arch "gfx942"); the lowest of the table, and *known false,
// for a GPU that is not in it.
int64_t gpu_link_mbit_s(LinkType type, std::string_view arch, bool* known);
// One link between two GPUs, or from one to something else when `other` is empty: the slower's.
int64_t gpu_link_mbit_s(LinkType type, const Node& gpu, const Node& other);

// "gfx90a" for gcn="910", "gfx90a" or "gfx90a:sramecc+".
std::string arch_of_gcn(std::string_view gcn);
// 90 for "sm90"; nothing for other architectures.
std::optional<int64_t> compute_capability(std::string_view arch);

// What a PCI device is by the first digits of its class, "0302", and its vendor, "10de".
bool is_network_class(std::string_view pci_class);
bool is_display_class(std::string_view pci_class);  // and processing accelerators
bool makes_gpus(std::string_view vendor);

// A cpu element's vendor, familyid and modelid, which a NUMA node's model keeps as
// "GenuineIntel family 6 model 143".
struct CpuModel {
  std::string vendor;
  int64_t family = kUnknown;
  int64_t model = kUnknown;
};
std::string to_text(const CpuModel& cpu);
CpuModel parse_cpu_model(std::string_view text);
// Between the sockets of such CPUs; kUnknown for those that are in no table.
int64_t inter_socket_mbit_s(const Attributes& numa);

}  // namespace tutti::topology::nccl
