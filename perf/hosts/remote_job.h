// SPDX-License-Identifier: Apache-2.0
// Runs the processes of one job on several hosts, each through an agent behind a remote shell.
#pragma once

namespace tutti::command {

struct RunOptions;

// As run_job, for options with hosts.
int run_on_hosts(const RunOptions& options);

}  // namespace tutti::command
