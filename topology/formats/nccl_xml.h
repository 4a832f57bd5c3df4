// SPDX-License-Identifier: Apache-2.0
// NCCL's topology XML (NCCL_TOPO_FILE, NCCL_TOPO_DUMP_FILE) and RCCL's dialect of it.
#pragma once

#include <string>
#include <string_view>

#include "topology/report.h"

namespace tutti::topology {

// Throws InvalidArgument "SOURCE:LINE: REASON" when the text is no such XML; what it returns has
// passed validate().
//
// A cpu becomes a NUMA node, a bridge a PCI switch, a net a NIC (a card with several ports is a
// switch that they hang from, so that they share its PCIe link), all NVSwitches one node after all
// others. GPUs come after the rest of the tree and in the order of their dev: the nth is rank n.
// NVLinks, xGMI and C2C are as many parallel links as the file counts, each once though both ends
// name it. cpus with different host_hash make a cluster. Bandwidths are those that NCCL and RCCL
// count with (nccl_tables.h), which are below what data sheets say.
//
// Not kept: gdr, sm of AMD GPUs, maxconn, latency, coll, plane, subsystem ids. Whatever else is
// left out, corrected or not believed is a note.
Report read_nccl_xml(std::string_view text, const std::string& source);

// Reads back to an equal graph (without its notes) when the graph came from read_nccl_xml. Of other
// graphs it writes what the format has a place for, and lists the rest in a comment; GPUs get
// gdr="1", which NCCL checks against the NIC. Throws InvalidArgument for a cluster whose hosts have
// no host_id or several NVSwitches, which the format can't tell apart.
std::string write_nccl_xml(const Report& report);

}  // namespace tutti::topology
