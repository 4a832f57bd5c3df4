// SPDX-License-Identifier: Apache-2.0
// Runs the detectors of one host in the order in which they build on each other.
#include "topology/detectors/machine.h"

#include "topology/detectors/nvml.h"
#include "topology/detectors/rdma_sysfs.h"

namespace tutti::topology {

Report detect_machine(const SystemFiles& files) {
  Report report = detect_hwloc(files);
  add_rdma_devices(files, report);
  detect_gpus(*open_nvml(), report);
  validate(report.graph);
  return report;
}

}  // namespace tutti::topology
