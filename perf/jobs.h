// SPDX-License-Identifier: Apache-2.0
// Which jobs `tutti top` and `tutti metrics` are about, and their recordings.
#pragma once

#include <string>
#include <vector>

#include "src/trace/live.h"

namespace tutti::cli {
class Command;
}

namespace tutti::command {

struct JobOptions {
  std::vector<int> pids;  // empty: all processes that may be looked into
  std::string job;        // TUTTI_JOB; empty: all
  std::string folder;     // read its files instead of processes
};
void add_job_options(cli::Command command, JobOptions* options);

struct Found {
  std::vector<trace::Recording> recordings;
  std::vector<std::string> warnings;  // what could not be read, and why
};
// Throws InvalidArgument when a process or folder can't be read at all, or no job has that name.
// `again`: it could be read before; processes may have ended.
Found read_jobs(const JobOptions& options, bool again = false);
// Why nothing was found, and what to do.
std::string nothing_found(const JobOptions& options, const Found& found);

}  // namespace tutti::command
