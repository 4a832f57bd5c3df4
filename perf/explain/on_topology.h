// SPDX-License-Identifier: Apache-2.0
// What the planner makes of a collective on a described topology: the bound, every candidate with
// its simulated time, what holds the best one back, and the certificate.
#pragma once

#include <cstdint>
#include <functional>
#include <optional>
#include <string>
#include <vector>

#include "src/base/rational.h"
#include "src/planner/forest/topology_plan.h"
#include "src/verify/certificate.h"
#include "src/verify/hierarchy.h"
#include "src/verify/simulator.h"
#include "topology/report.h"

namespace tutti::command {

struct TopologyRequest {
  plan::Collective collective = plan::Collective::kAllReduce;
  uint64_t bytes = 0;  // of one block, as the C API takes it
  planner::ViewOptions view;
  planner::PlanBudget budget;
  bool use_cache = false;  // look for plans on disk, and keep them there
  verify::SimulationParameters simulation;
};

struct TopologyRow {
  std::string algorithm;
  Rational link_time;  // of the plan's busiest link, as TopologyBound's
  double time_ns = 0;  // simulated; of a hierarchy the busiest link's and the latency of its trees
  std::vector<verify::Hop> bottlenecks;
  int32_t channels = 1;
  int64_t lanes = 0;  // of the rank with the most
  int64_t chunks_per_block = 1;
  uint64_t slot_bytes = 0;     // with which it is fastest; 0: not simulated
  planner::PlacedPlan placed;  // without ranks: a hierarchy, not written out
};

struct TopologyExplanation {
  TopologyRequest request;
  topology::Report report;  // the view that was planned on; its notes say what was left out
  planner::FlowNetwork network;
  planner::TopologyBound bound;
  std::optional<verify::Hierarchy> hierarchy;  // where the first row is one
  double plan_over_bound = 0;                  // of the first row, as its certificate says
  std::vector<TopologyRow> rows;               // by time; the first is chosen
  double plan_ms = 0;                          // bound and candidates
  double simulation_ms = 0;
};

// `step` is called with what comes next, for progress. Throws InvalidArgument when the topology or
// the collective can't be planned for, InternalError when the certificate is refused.
TopologyExplanation explain_on(const topology::Report& topology, const TopologyRequest& request,
                               const std::function<void(const std::string&)>& step);

// The proof of the first row, as a file; and its steps, which for a hierarchy of many ranks are too
// many (InvalidArgument).
std::string certificate_of(const TopologyExplanation& explanation);
plan::Plan plan_of(const TopologyExplanation& explanation);

// Time in the topology's own capacities, per unit of data of one rank: seconds per gigabyte for
// GB/s.
Rational in_given_capacities(const TopologyExplanation& explanation, const Rational& time);
// GB/s of all data (AllToAll: of what one rank sends to all) for a time as above, and for a call
// that takes so long.
double algbw(const TopologyExplanation& explanation, const Rational& time);
double algbw(const TopologyExplanation& explanation, double time_ns);
double busbw_factor(const TopologyExplanation& explanation);

// The topology with the first row's plan on it.
std::string as_svg(const TopologyExplanation& explanation);

// `before`: the same without the changes of --what-if; null: there are none.
std::string as_text(const TopologyExplanation& explanation, const TopologyExplanation* before);
std::string as_json(const TopologyExplanation& explanation, const TopologyExplanation* before);

}  // namespace tutti::command
