// SPDX-License-Identifier: Apache-2.0
// Runs a placed plan as actors of SimGrid, which does its own sharing of links and its own time.
#pragma once

#include <cstdint>

#include "src/plan/plan.h"
#include "src/verify/placement.h"
#include "topology/graph.h"

namespace tutti::testing {

// SimGrid's fluid model has a message wait for its latency first and then share links, and it tells
// the sender when all is over. The simulator has it share links first, lets the sender go on, and
// then waits.
enum class Latency : uint8_t {
  kOfLinks,    // SimGrid's way, with the latency in its links
  kAfterward,  // the simulator's way: links of SimGrid without latency, and a sleep
};

struct ReplayRequest {
  const plan::Plan& plan;
  const verify::Placement& placement;  // one route for each pair of ranks, whatever the channel
  const topology::Graph& graph;        // all capacities and latencies are known
  double message_bytes = 0;            // of every message
  int32_t tiles = 1;
  Latency latency = Latency::kOfLinks;
};

// Once per process. The plan has neither waits nor signals, and each rank is on a node of its own.
double replay_ns(const ReplayRequest& request);

}  // namespace tutti::testing
