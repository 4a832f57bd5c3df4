// SPDX-License-Identifier: Apache-2.0
// How long a plan takes on a topology: messages are flows that share links max-min fairly.
#pragma once

#include <array>
#include <cstdint>
#include <limits>
#include <vector>

#include "src/plan/plan.h"
#include "src/verify/placement.h"
#include "topology/graph.h"

namespace tutti::verify {

// docs/design/simulator.md says what each means in the run of a step.
struct SimulationParameters {
  // Latency of a hop where Link::latency_ns is unknown, by topology::LinkType: memory, SMP, PCIe,
  // NVLink, XGMI, C2C, network. Round figures for the hardware of today; measure where it matters.
  std::array<double, 7> hop_ns{100, 200, 1000, 600, 600, 600, 1500};
  double message_ns = 0;          // of a lane, for each message that it sends, before it goes
  double reduce_ns_per_byte = 0;  // of a lane, for each source that a step adds to its first
  double copy_ns_per_byte = 0;    // of a lane, for each local chunk that a step writes
  double channel_bytes_per_ns = std::numeric_limits<double>::infinity();  // of one connection
  uint64_t slot_bytes = 0;  // what a message holds at most: larger chunks go in tiles; 0: one tile
  int32_t slots = 0;        // of a connection; 0: as the plan says
};

struct LinkUse {
  double bytes = 0;
  double busy = 0;  // bytes over what the link could have carried in time_ns; 0 to 1
};
struct LinkUses {
  LinkUse forward;
  LinkUse reverse;
};

struct SimulationResult {
  double time_ns = 0;             // until the last step of any rank has ended
  std::vector<double> finish_ns;  // by rank: until its last step has ended
  std::vector<LinkUses> links;    // by link of the graph
  std::vector<Hop> bottlenecks;   // ways whose `busy` is within 1 % of the greatest; by link
  int64_t events = 0;             // that the simulation went through
};

// `block_bytes`: of one block as in plan/collective.h. A chunk has block_bytes / chunks_per_block
// bytes, which need not be whole.
//
// Throws InvalidArgument when the plan is not well formed, the placement does not fit (see
// check_placement), a parameter is out of range, a route crosses a link whose capacity that way is
// unknown or 0 (naming it), or the plan gets stuck (naming a lane that waits). A pure function of
// its arguments.
SimulationResult simulate(const plan::Plan& plan, const Placement& placement,
                          const topology::Graph& graph, uint64_t block_bytes,
                          const SimulationParameters& parameters = {});

}  // namespace tutti::verify
