// SPDX-License-Identifier: Apache-2.0
// Turns one I/O object of hwloc's tree into host bridges, PCI switches, GPUs and NICs.
#pragma once

#include <hwloc.h>

#include <cstdint>

#include "topology/detectors/hwloc_detector.h"
#include "topology/report.h"

namespace tutti::topology {

struct PciContext {
  hwloc_topology_t topology;
  const SystemFiles& files;
  Report& report;  // added to; NUMA nodes that the objects are near to are in it already
};

// Adds `object`, a child of the object that became node `parent`, and what is below it. Bridges
// with nothing of interest below are left out; a bridge with one device below is a wire: the slower
// of the two links counts.
void add_pci(const PciContext& context, hwloc_obj_t object, int32_t parent);

}  // namespace tutti::topology
