// SPDX-License-Identifier: Apache-2.0
// What a plan sends from host to host, and the least that any plan must send
// (docs/design/hierarchical.md).
#pragma once

#include <cstdint>

#include "src/plan/plan.h"
#include "src/planner/cost_parameters.h"
#include "src/planner/hosts.h"

namespace tutti::planner {

// Bytes are in blocks (plan/collective.h) of equal size.
struct NetworkLoad {
  int32_t hops = 0;           // messages from host to host on the longest chain of dependent ones
  double total_blocks = 0;    // over all hosts
  double host_blocks = 0;     // into or out of the busiest host, whichever is more
  double rank_blocks = 0;     // out of and into the busiest rank
  double rank_messages = 0;   // out of and into the busiest rank, per tile
  double rank_peers = 0;      // those of the busiest rank, each direction counts
  double message_blocks = 0;  // of one message
  int32_t connections = 0;    // between hosts, in one direction each
};
// Counted on the plan. Nothing where there is one host.
NetworkLoad network_load(const plan::Plan& plan, const Hosts& hosts);

// Lower bounds, for blocks of equal size.
struct LeastLoad {
  double total_blocks = 0;
  double host_blocks = 0;
};
LeastLoad least_load(plan::Collective collective, const Hosts& hosts, int32_t root);

// What the network adds to a call whose blocks have so many bytes. Small messages of a rank to one
// peer follow each other and are handled together.
double network_ns(const NetworkLoad& load, const NetworkParameters& network, uint64_t block_bytes);

}  // namespace tutti::planner
