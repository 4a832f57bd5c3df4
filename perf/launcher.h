// SPDX-License-Identifier: Apache-2.0
// Runs the local processes of one job: output, signals, failure of one, end of all.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "perf/hosts/host_list.h"
#include "perf/job_text.h"
#include "perf/pinning.h"

namespace tutti::command {

// How other hosts are reached.
struct HostOptions {
  std::string rsh = "ssh";  // a command, words divided by spaces; the host and a command follow
  std::string tutti;        // the command on the hosts; "": the path of this one
  std::string folder;       // to run in; "": this one
  std::string interface_prefix;         // of rank 0's host, to meet at, and of all to talk over
  int port = 0;                         // of rank 0's host, to meet at; 0: a free one
  double start_seconds = 30;            // until all hosts are ready
  std::vector<std::string> to_forward;  // names of variables, or NAME=VALUE
};

struct RunOptions {
  int ranks = 1;
  bool threads = false;  // one process that runs the ranks as threads
  Pinning pinning = Pinning::kShare;
  double timeout_seconds = 0;  // 0: none
  PrefixMode prefix = PrefixMode::kOthers;
  std::vector<std::string> command;  // program and arguments
  std::vector<HostShare> hosts;      // empty: this one
  HostOptions on_hosts;
};

inline constexpr int kTimeoutStatus = 124;
inline constexpr int kHostStatus = 125;  // a host could not be reached, or was lost
inline constexpr int kNotFoundStatus = 127;

// Returns the job's exit status: 0, that of the rank that failed first (128 + signal when killed),
// or one of the above. Explains failures on stderr. Throws Error when the job can't be started;
// nothing is left running then.
int run_job(const RunOptions& options);

}  // namespace tutti::command
