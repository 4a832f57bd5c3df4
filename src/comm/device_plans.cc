// SPDX-License-Identifier: Apache-2.0
// Ranks as terminals of the graph, forests over it, and back to ranks.
#include "src/comm/device_plans.h"

#include <algorithm>
#include <numeric>
#include <utility>

#include "src/base/error.h"
#include "src/base/log.h"
#include "src/plan/renamed.h"
#include "src/planner/forest/candidate.h"
#include "topology/change.h"
#include "topology/detectors/machine.h"
#include "topology/formats/native_json.h"

namespace tutti::comm {
namespace {

// Of the bound. The last twentieth costs many more trees, and so smaller messages.
constexpr double kShare = 0.95;
// A lane is a thread block, which a GPU has to run beside all others of the plan and the user's own
// kernels.
constexpr planner::PlanBudget kBudget{.channels = 16, .lanes = 32};

int32_t position_of(const topology::Graph& graph, const std::string& pci_address) {
  const std::vector<int32_t> gpus = topology::nodes_of_kind(graph, topology::NodeKind::kGpu);
  const auto at = std::ranges::find_if(gpus, [&](int32_t node) {
    return graph.nodes[static_cast<size_t>(node)].attributes.pci_address == pci_address;
  });
  if (at == gpus.end()) {
    throw Error(StatusCode::kInvalidArgument, "GPU " + pci_address + " is not among the " +
                                                  std::to_string(gpus.size()) +
                                                  " GPUs that rank 0 finds in its machine");
  }
  return static_cast<int32_t>(at - gpus.begin());
}

}  // namespace

std::string describe_machine(int rank) {
  try {
    return topology::write_native_json(topology::detect_machine());
  } catch (const Error& error) {
    log(LogLevel::kInfo, "comm", rank, "plans are not made for this machine's links: {}",
        error.what());
    return "";
  }
}

DevicePlans::DevicePlans(std::string_view machine, std::span<const std::string> gpus) {
  const topology::Graph graph = topology::read_native_json(machine, "rank 0's machine").graph;
  std::vector<int32_t> positions;
  positions.reserve(gpus.size());
  for (const std::string& gpu : gpus) positions.push_back(position_of(graph, gpu));
  graph_ = topology::only_gpus(graph, positions);
  // The terminals are the GPUs in the graph's order.
  new_rank_.resize(gpus.size());
  std::iota(new_rank_.begin(), new_rank_.end(), 0);
  std::ranges::sort(new_rank_, {},
                    [&](int32_t rank) { return positions[static_cast<size_t>(rank)]; });
}

std::shared_ptr<const planner::VerifiedPlan> DevicePlans::plan(plan::Collective collective) {
  const std::lock_guard lock(mutex_);
  const auto at = std::ranges::find(made_, collective, &Made::collective);
  if (at != made_.end()) return at->plan;
  return made_.emplace_back(Made{collective, make(collective)}).plan;
}

std::shared_ptr<const planner::VerifiedPlan> DevicePlans::make(plan::Collective collective) const {
  try {
    const planner::View view = planner::view_of(graph_, {});
    const planner::FlowNetwork network = planner::flow_network(view.graph);
    planner::check_collective(collective);
    const planner::Candidate forest =
        planner::forest_candidate(view.graph, network, collective, kShare, kBudget);
    return planner::given_plan(plan::to_json(plan::renamed(forest.placed.plan, new_rank_)),
                               "the plan for this machine's links");
  } catch (const Error& error) {
    log(LogLevel::kInfo, "comm", -1, "no plan by this machine's links for {}: {}",
        plan::name(collective), error.what());
    return nullptr;
  }
}

}  // namespace tutti::comm
