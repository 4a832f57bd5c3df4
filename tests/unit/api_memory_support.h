// SPDX-License-Identifier: Apache-2.0
// Ranks with options, and their accounts.
#pragma once

#include <thread>
#include <vector>

#include <gtest/gtest.h>

#include "tests/unit/api_support.h"

namespace tutti::testing {

inline tuttiCommMemStats_t memory_of(tuttiComm_t comm) {
  tuttiCommMemStats_t stats = TUTTI_COMM_MEM_STATS_INITIALIZER;
  EXPECT_TUTTI(tuttiCommGetMemStats(comm, &stats));
  EXPECT_EQ(stats.totalBytes, stats.connectionBytes + stats.scratchBytes + stats.boardBytes +
                                  stats.recordingBytes + stats.programBytes + stats.objectBytes);
  EXPECT_GE(stats.peakBytes, stats.totalBytes);
  return stats;
}

// Ranks that are threads of this process, with options.
class Ranks {
 public:
  Ranks(int n, const tuttiConfig_t& config) : comms_(static_cast<size_t>(n)) {
    tuttiUniqueId id;
    EXPECT_TUTTI(tuttiGetUniqueId(&id));
    each([&](int rank) {
      tuttiConfig_t mine = config;
      EXPECT_TUTTI(
          tuttiCommInitRankConfig(&comms_[static_cast<size_t>(rank)], size(), id, rank, &mine));
    });
  }
  ~Ranks() {
    each([&](int rank) { EXPECT_TUTTI(tuttiCommDestroy((*this)[rank])); });
  }
  Ranks(const Ranks&) = delete;
  Ranks& operator=(const Ranks&) = delete;

  int size() const { return static_cast<int>(comms_.size()); }
  tuttiComm_t operator[](int rank) const { return comms_[static_cast<size_t>(rank)]; }
  template <typename Body>
  void each(Body body) const {
    std::vector<std::thread> threads;
    for (int rank = 0; rank < size(); ++rank) threads.emplace_back([&, rank] { body(rank); });
    for (std::thread& thread : threads) thread.join();
  }
  // Sum over the ranks of one part.
  uint64_t sum(uint64_t tuttiCommMemStats_t::*part) const {
    uint64_t total = 0;
    for (int rank = 0; rank < size(); ++rank) total += memory_of((*this)[rank]).*part;
    return total;
  }

 private:
  std::vector<tuttiComm_t> comms_;
};

inline tuttiConfig_t config_for(const char* transport, const char* algorithm = nullptr) {
  tuttiConfig_t config = TUTTI_CONFIG_INITIALIZER;
  config.transport = transport;
  config.algorithm = algorithm;
  return config;
}

}  // namespace tutti::testing
