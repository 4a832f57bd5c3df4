// SPDX-License-Identifier: Apache-2.0
// Topology files of any format that the project reads.
#pragma once

#include <string>
#include <string_view>

#include "topology/report.h"

namespace tutti::topology {

// Tells the formats apart by how the text begins: `{`, `#` or the name of the XML root element.
// Throws InvalidArgument naming `source`; when it is none of them, with a list of those it could
// be.
Report read_topology(std::string_view text, const std::string& source);

// "native JSON, hwloc v2 XML, NCCL XML, ..." for messages and help texts.
std::string topology_format_names();

}  // namespace tutti::topology
