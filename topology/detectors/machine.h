// SPDX-License-Identifier: Apache-2.0
// All that this host can be asked about itself, in one report.
#pragma once

#include "topology/detectors/hwloc_detector.h"
#include "topology/report.h"

namespace tutti::topology {

// hwloc's view of this machine, completed by its RDMA devices in sysfs and by NVML. Throws
// SystemError when hwloc can't look at it; what else is missing is a note.
Report detect_machine(const SystemFiles& files = {"/"});

}  // namespace tutti::topology
