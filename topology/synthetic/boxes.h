// SPDX-License-Identifier: Apache-2.0
// Builders of one machine each, rooted at a machine node.
#pragma once

#include "topology/synthetic/model.h"

namespace tutti::topology {

// No GPUs. Cores are dealt to the NUMA nodes in blocks, the first ones taking one more where they
// don't divide.
Graph build_host(const Model& model, const Options& options);
// Every GPU on one NVSwitch.
Graph build_nvswitch_box(const Model& model, const Options& options);
// GPUs joined by the links of model.mesh.
Graph build_mesh_box(const Model& model, const Options& options);
// One link between any two GPUs.
Graph build_full_mesh_box(const Model& model, const Options& options);
// A rack whose trays, machines of their own within it, have four GPUs each, all on one NVSwitch.
Graph build_nvl_rack(const Model& model, const Options& options);
// GPUs and NICs behind PCIe switches, those behind the NUMA nodes of sockets.
Graph build_pcie_box(const Model& model, const Options& options);

}  // namespace tutti::topology
