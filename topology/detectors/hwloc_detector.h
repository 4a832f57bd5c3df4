// SPDX-License-Identifier: Apache-2.0
// Detects packages, NUMA nodes, caches, cores, GPUs and NICs with hwloc, live or from a recorded
// file.
#pragma once

#include <string>
#include <string_view>

#include "topology/report.h"

namespace tutti::topology {

// Where sysfs and procfs are read for what hwloc does not know: link rates of NICs, CPU quotas. ""
// reads nothing.
struct SystemFiles {
  std::string root;  // "/" live; a folder that holds sys/... in tests and for recorded machines
};

// This machine as this process may use it (affinity and cgroup). Throws SystemError when hwloc
// can't look at it.
Report detect_hwloc(const SystemFiles& files = {"/"});

// A machine recorded as hwloc v2 XML (`lstopo --of xml`). Throws InvalidArgument "NAME: REASON".
Report read_hwloc_xml(std::string_view xml, const std::string& name, const SystemFiles& files = {});

}  // namespace tutti::topology
