// SPDX-License-Identifier: Apache-2.0
// What a synthetic line may say, and the table of machines it may name.
#pragma once

#include <cstdint>
#include <span>
#include <string_view>

#include "topology/graph.h"
#include "topology/synthetic/fabric.h"

namespace tutti::topology {

// Values of a line's keys. Each model reads those that it allows.
struct Options {
  int64_t boxes = 1;
  Fabric fabric;
  int64_t cores = 1;
  int64_t numa = 1;
  int64_t memory_bytes = kUnknown;
  int64_t nics = 0;
  int64_t nic_mbit_s = 100'000;
  int64_t gpus = 8;
  int64_t gpus_per_switch = 2;
  int64_t pcie_gen = 4;
  int64_t sockets = 0;                         // 0: two, where there are two switches
  int64_t smp_mbit_s = 16 * kMbitPerGigabyte;  // between two sockets

  int64_t pci_switches() const { return (gpus + gpus_per_switch - 1) / gpus_per_switch; }
};

// Two GPUs with so many links of their own between them.
struct MeshEdge {
  int8_t a, b, links;
};

struct Model {
  const char* name;
  const char* doc;
  Graph (*build)(const Model&, const Options&);  // one box
  std::span<const std::string_view> keys;        // allowed in a line, besides those of fabrics
  bool nics_by_option = false;  // as many NICs as the key says; else one for each gpus_per_nic GPUs
  int64_t most_nics = 0;        // what the key allows
  int64_t gpus = 0;
  int64_t gpus_per_nic = 1;  // several GPUs share their NIC's PCIe switch
  LinkType gpu_link = LinkType::kNvLink;
  int64_t gpu_mbit_s = 0;  // one GPU to its NVSwitch, or one link of a mesh
  int64_t nic_mbit_s = 0;  // a NIC, and each PCIe link on the way to it
  bool nvls = false;       // the NVSwitch reduces and multicasts
  std::span<const MeshEdge> mesh;
};

std::span<const Model> models();

}  // namespace tutti::topology
