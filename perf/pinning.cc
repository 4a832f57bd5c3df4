// SPDX-License-Identifier: Apache-2.0
// Shares of the cores that hwloc says this process may use.
#include "perf/pinning.h"

#include <utility>

#include "src/base/error.h"
#include "topology/detectors/hwloc_detector.h"

namespace tutti::command {

CoreShares::CoreShares(Pinning pinning, int processes)
    : pinning_(pinning), processes_(static_cast<size_t>(processes)) {
  if (pinning == Pinning::kNone) return;
  const topology::Report report = topology::detect_hwloc();
  for (const int32_t core : topology::nodes_of_kind(report.graph, topology::NodeKind::kCore)) {
    std::vector<int32_t> cpus =
        topology::parse_cpu_list(report.graph.nodes[core].attributes.usable_cpus);
    if (!cpus.empty()) cores_.push_back(std::move(cpus));
  }
  if (pinning == Pinning::kRoundRobin && cores_.empty())
    throw Error(StatusCode::kSystemError,
                "--bind: hwloc reports no core that this process may use");
  if (pinning == Pinning::kShare && processes_ > cores_.size()) cores_.clear();
}

std::vector<int32_t> CoreShares::cpus_of(int process) const {
  if (cores_.empty()) return {};
  const auto p = static_cast<size_t>(process);
  if (pinning_ == Pinning::kRoundRobin) return cores_[p % cores_.size()];
  std::vector<int32_t> cpus;
  for (size_t core = p * cores_.size() / processes_; core < (p + 1) * cores_.size() / processes_;
       ++core) {
    cpus.insert(cpus.end(), cores_[core].begin(), cores_[core].end());
  }
  return cpus;
}

}  // namespace tutti::command
