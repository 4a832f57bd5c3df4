// SPDX-License-Identifier: Apache-2.0
// The simulated machine as files of sysfs and procfs.
#pragma once

#include <string>

#include "tests/cudasim/src/machine.h"

namespace cudasim {

// Below the folder: CPUs and NUMA nodes, PCI devices with their config space, network interfaces
// and InfiniBand devices, as hwloc (HWLOC_FSROOT, HWLOC_THISSYSTEM=0) and the project's readers of
// sysfs want them. Throws tutti::Error.
void write_sysfs(const Machine& machine, const std::string& folder);

}  // namespace cudasim
