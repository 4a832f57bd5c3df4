// SPDX-License-Identifier: Apache-2.0
// The ranks that `tutti tune` and `tutti plan explain --measure` start: the side that is measured.
#pragma once

namespace tutti::cli {
class Command;
}

namespace tutti::command {

inline constexpr const char* kRankCommand = "tune-rank";

// A subcommand that help does not show: one rank of a job that reads a Request at one descriptor
// and, on rank 0, writes a line with Times for each point to another.
void add_tune_rank(cli::Command app, int* exit_status);

}  // namespace tutti::command
