// SPDX-License-Identifier: Apache-2.0
// Which way each pair of a job's ranks takes.
#pragma once

#include <optional>
#include <string>
#include <vector>

#include <nlohmann/json_fwd.hpp>

#include "perf/topo/rails.h"
#include "src/bootstrap/bootstrap.h"

namespace tutti::command {

// From one rank to a peer.
struct PeerPath {
  std::string transport;           // "shm"; empty: the rank itself
  std::vector<std::string> rails;  // each once, in order; empty for memory
  std::vector<std::string> open;   // what each open path is, with addresses
  int wanted = 0;                  // paths that there shall be
};

struct RankPaths {
  std::string host;
  std::string failure;  // why there is no communicator; empty: there is one
  std::vector<Rail> rails;
  std::vector<PeerPath> peers;  // by rank
};
nlohmann::ordered_json to_json(const RankPaths& rank);
RankPaths rank_paths_from_json(const nlohmann::ordered_json& json);

// Collective: forms a communicator of the job, whose networks open their paths. Rank 0 gets
// everybody's findings.
std::optional<std::vector<RankPaths>> paths_of(const bootstrap::Launch& launch,
                                               bootstrap::Bootstrap& meeting);
// The rails of each host, and a table rank by rank.
std::string paths_text(const std::vector<RankPaths>& ranks);

}  // namespace tutti::command
