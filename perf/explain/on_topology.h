// SPDX-License-Identifier: Apache-2.0
// What the planner makes of a collective on a described topology: the bound, every candidate with
// its simulated time, what holds the best one back, and the certificate.
#pragma once

#include <cstdint>
#include <functional>
#include <string>
#include <vector>

#include "src/base/rational.h"
#include "src/planner/forest/topology_plan.h"
#include "src/verify/certificate.h"
#include "src/verify/simulator.h"
#include "topology/report.h"

namespace tutti::command {

struct TopologyRequest {
  plan::Collective collective = plan::Collective::kAllReduce;
  uint64_t bytes = 0;  // of one block, as the C API takes it
  planner::ViewOptions view;
  planner::PlanBudget budget;
  verify::SimulationParameters simulation;
};

struct TopologyRow {
  planner::Candidate plan;
  uint64_t slot_bytes = 0;  // with which it is fastest
  verify::SimulationResult simulated;
  int64_t lanes = 0;  // of the rank with the most
};

struct TopologyExplanation {
  TopologyRequest request;
  topology::Report report;  // the view that was planned on; its notes say what was left out
  planner::FlowNetwork network;
  planner::TopologyBound bound;
  verify::Certificate certificate;  // of the first row
  verify::CertificateVerdict verdict;
  std::vector<TopologyRow> rows;  // by simulated time; the first is chosen
  double plan_ms = 0;             // bound and candidates
  double simulation_ms = 0;
};

// `step` is called with what comes next, for progress. Throws InvalidArgument when the topology or
// the collective can't be planned for, InternalError when the certificate is refused.
TopologyExplanation explain_on(const topology::Report& topology, const TopologyRequest& request,
                               const std::function<void(const std::string&)>& step);

// Time in the topology's own capacities, per unit of data of one rank: seconds per gigabyte for
// GB/s.
Rational in_given_capacities(const TopologyExplanation& explanation, const Rational& time);
// GB/s of all data for a time as above, and for a call that takes so long.
double algbw(const TopologyExplanation& explanation, const Rational& time);
double algbw(const TopologyExplanation& explanation, double time_ns);
double busbw_factor(const TopologyExplanation& explanation);

// `before`: the same without the changes of --what-if; null: there are none.
std::string as_text(const TopologyExplanation& explanation, const TopologyExplanation* before);
std::string as_json(const TopologyExplanation& explanation, const TopologyExplanation* before);

}  // namespace tutti::command
