// SPDX-License-Identifier: Apache-2.0
// Runs the local processes of one job: output, signals, failure of one, end of all.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

namespace tutti::command {

enum class PrefixMode : uint8_t {
  kOthers,  // "[rank] " before every line except those of rank 0's standard output
  kAll,
  kNone,
};

enum class Pinning : uint8_t {
  kShare,  // as many ranks as cores or fewer: each gets its equal share of the cores; more: not
           // pinned
  kRoundRobin,  // each rank to one core
  kNone,
};

struct RunOptions {
  int ranks = 1;
  bool threads = false;  // one process that runs the ranks as threads
  Pinning pinning = Pinning::kShare;
  double timeout_seconds = 0;  // 0: none
  PrefixMode prefix = PrefixMode::kOthers;
  std::vector<std::string> command;  // program and arguments
};

inline constexpr int kTimeoutStatus = 124;
inline constexpr int kNotFoundStatus = 127;

// Returns the job's exit status: 0, that of the rank that failed first (128 + signal when killed),
// or one of the above. Explains failures on stderr. Throws Error when the job can't be started;
// nothing is left running then.
int run_job(const RunOptions& options);

}  // namespace tutti::command
