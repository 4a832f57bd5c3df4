// SPDX-License-Identifier: Apache-2.0
// Runs the ranks of one host for a `tutti run` elsewhere, which talks to it over a remote shell.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "perf/pinning.h"

namespace tutti::command {

// What the launcher wants of a host (FrameKind::kSetUp).
struct AgentOrders {
  int first_rank = 0;
  int ranks = 0;
  int size = 0;        // of the job
  bool meets = false;  // several hosts: rank 0's offers a place to meet at
  std::string folder;  // to run in
  Pinning pinning = Pinning::kShare;
  std::string interface_prefix;  // of the meeting place
  int port = 0;                  // of the meeting place; 0: any
  std::vector<std::string> command;
  std::vector<std::string> variables;  // "NAME=value", for all ranks
};

std::string encode(const AgentOrders& orders);
AgentOrders decode_orders(const std::string& text);  // throws std::exception

std::string agent_version();  // both ends must be the same

// The hidden subcommand `tutti agent`: returns its exit status when the launcher closes our input,
// with no rank left.
int run_agent();

}  // namespace tutti::command
