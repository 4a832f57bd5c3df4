// SPDX-License-Identifier: Apache-2.0
// The containment tree of an NCCL XML file, before the links that GPUs name. Only the reader uses
// it.
#pragma once

#include <cstdint>
#include <map>
#include <string>
#include <utility>
#include <vector>

#include <pugixml.hpp>

#include "topology/formats/nccl_document.h"

namespace tutti::topology::nccl {

// What a pci element turned out to be.
enum class Role : uint8_t { kLeftOut, kSwitch, kGpu, kNic, kNvSwitch };

struct PciPart {
  int32_t node = -1;  // in the graph; -1 for what has none
  pugi::xml_node xml;
};

struct PciLink {  // from a pcilink element
  int32_t host = 0;
  int32_t node = 0;
  pugi::xml_node xml;
};

struct GpuPart {
  int32_t host = 0;
  int32_t node = -1;
  int32_t numa = -1;   // the node of its cpu
  pugi::xml_node xml;  // the gpu element; empty when the pci element has none
};

struct Tree {
  using Place = std::pair<std::string, Role>;   // its PCI address, and what it is
  std::vector<std::map<Place, PciPart>> parts;  // by host
  std::vector<GpuPart> gpus;                    // in the order of their nodes
  std::vector<PciLink> pci_links;
};

// Adds machines, NUMA nodes, switches, NICs, then GPUs, and their PCIe links to the report.
Tree read_tree(Document& document);

// nvlink, xgmi, c2c and pcilink elements, and what joins the sockets.
void read_links(Document& document, const Tree& tree);

}  // namespace tutti::topology::nccl
