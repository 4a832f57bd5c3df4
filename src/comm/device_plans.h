// SPDX-License-Identifier: Apache-2.0
// Plans for the GPUs of a communicator by the links between them: forests near the bound
// (src/planner/forest), for calls large enough that bandwidth counts.
#pragma once

#include <memory>
#include <mutex>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "src/planner/planner.h"
#include "topology/graph.h"

namespace tutti::comm {

// What this machine looks like, as text for DevicePlans; empty when it can't be looked at, which
// the log says.
std::string describe_machine(int rank);

// A pure function of agreed values: every rank has the same plans. Any thread.
class DevicePlans {
 public:
  // `machine` is rank 0's describe_machine(); `gpus` the PCI addresses of the ranks' GPUs. Throws
  // InvalidArgument when one of them is not in it, two ranks share one, or the text is none.
  DevicePlans(std::string_view machine, std::span<const std::string> gpus);

  // Made and verified at first use. Null where there is none: another collective, or no way leads
  // from one GPU to another.
  std::shared_ptr<const planner::VerifiedPlan> plan(plan::Collective collective);

 private:
  std::shared_ptr<const planner::VerifiedPlan> make(plan::Collective collective) const;

  topology::Graph graph_;          // of these GPUs
  std::vector<int32_t> new_rank_;  // by terminal of the graph
  std::mutex mutex_;               // guards the plans
  struct Made {
    plan::Collective collective = plan::Collective::kBarrier;
    std::shared_ptr<const planner::VerifiedPlan> plan;  // shared with calls
  };
  std::vector<Made> made_;
};

}  // namespace tutti::comm
