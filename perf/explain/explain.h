// SPDX-License-Identifier: Apache-2.0
// What the planner knows of a call: every candidate, what it moves, what it is expected to take,
// and why one of them wins.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "src/base/config.h"
#include "src/planner/network_load.h"
#include "src/planner/planner.h"
#include "src/planner/profile.h"

namespace tutti::command {

// What the busiest rank does in one call, counted on the plan that would run.
struct Traffic {
  uint64_t messages = 0;  // sent
  uint64_t sent_bytes = 0;
  uint64_t touched_bytes = 0;  // read and written, also in slots
  uint64_t message_bytes = 0;  // of the largest one
};

struct ExplainedRow {
  std::string algorithm;
  double predicted_ns = 0;
  double model_ns = 0;     // before it was corrected by measurements
  double latency_ns = 0;   // of model_ns: hops
  double handling_ns = 0;  // of model_ns: messages
  double bytes_ns = 0;     // of model_ns: copies and reductions
  double network_ns = 0;   // of model_ns: between hosts
  std::optional<double> measured_ns;
  Traffic traffic;
  planner::NetworkLoad network;  // between hosts
  std::string protocol;
};

struct Explanation {
  planner::CostInput input;
  plan::Collective collective = plan::Collective::kAllReduce;
  std::string profile;  // its file; empty: none
  uint32_t slot_bytes = 0;
  uint32_t channels = 1;
  planner::LeastLoad least;        // that must cross between hosts
  std::vector<ExplainedRow> rows;  // the chosen one first, then by predicted time
};

struct ExplainRequest {
  plan::Collective collective = plan::Collective::kAllReduce;
  uint64_t bytes = 0;  // of one block
  int n_ranks = 2;
  planner::Hosts hosts;  // of the ranks
  AgreedConfig agreed;
  const planner::Profile* profile = nullptr;  // null: none; outlives the explanation
  std::string profile_file;
};
// Throws InvalidArgument when no algorithm fits.
Explanation explain(const ExplainRequest& request);

// Why the first row wins, in a sentence or two.
std::string why(const Explanation& explanation);
std::string as_table(const Explanation& explanation);
std::string as_json(const Explanation& explanation);

}  // namespace tutti::command
