// SPDX-License-Identifier: Apache-2.0
// What the ranks of a communicator tell each other at set-up, and what follows from it for all of
// them alike.
#pragma once

#include <cstddef>
#include <cstdint>
#include <functional>
#include <span>
#include <string>
#include <vector>

#include "src/base/config.h"
#include "src/base/cores.h"
#include "src/base/liveness.h"
#include "src/planner/hosts.h"

namespace tutti::comm {

// Set-up all-gather: everybody's bytes by rank. By the rendezvous at init, over the parent's data
// path at split.
using Exchange =
    std::function<std::vector<std::vector<std::byte>>(std::span<const std::byte> mine)>;

// How to reach a rank by one transport.
struct TransportAddress {
  std::string transport;  // row name
  std::vector<std::byte> address;
  std::vector<std::byte> board;  // token of the rank's notice board (see notice_board.h)
};

// A plan to use instead of the library's, as its file has it; empty: none.
struct GivenPlan {
  std::string file;  // for messages
  std::string text;
};
// Throws InvalidArgument when the file can't be read. An empty path: none.
GivenPlan read_plan(const std::string& path);

// Text of what was measured on rank 0's machine; empty: nothing (see comm/profile_file.h).
struct GivenProfile {
  std::string text;
};

// The text of TUTTI_LAYOUT; empty: hosts are what they are.
struct GivenLayout {
  std::string text;
};

struct PeerRecord {
  ProcessIdentity process;
  CoreSet cores{};
  AgreedConfig agreed;             // rank 0's counts
  GivenPlan plan;                  // rank 0's counts
  GivenProfile profile;            // rank 0's counts
  GivenLayout layout;              // rank 0's counts
  CacheSizes caches;               // rank 0's count
  uint64_t memory_cap_bytes = 0;   // of its budget; 0: none
  uint64_t memory_used_bytes = 0;  // before the first call
  int32_t device = -1;             // its GPU; -1: a host rank
  bool whole_lines = false;        // see sends_whole_lines()
  std::string gpu;                 // its GPU's PCI address
  std::vector<TransportAddress> transports;

  const TransportAddress* find(std::string_view transport) const noexcept;
};
std::vector<std::byte> encode(const PeerRecord& record);
PeerRecord decode(std::span<const std::byte> bytes);  // throws InternalError

// Facts about the hosts that every rank computes alike from all records.
struct HostFacts {
  int cores =
      1;  // fewest usable cores over the hosts; a host's are those that any of its ranks may use
  int local_ranks = 1;  // ranks on this rank's host
  // Who shares a host, for plans: rank 0's layout where it is for that many ranks.
  planner::Hosts hosts;
  bool rdma = false;         // every rank has that transport
  bool all_devices = false;  // every rank has a GPU
  bool whole_lines = false;  // and sends whole lines to the others
};
// Throws InvalidArgument when rank 0's layout is none.
HostFacts host_facts(std::span<const PeerRecord> records, int rank);

}  // namespace tutti::comm
