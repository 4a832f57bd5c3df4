// SPDX-License-Identifier: Apache-2.0
// The `tutti` command: each subcommand is one file that adds itself to the parser.
#pragma once

#include <string>
#include <vector>

namespace tutti::cli {
class Command;
}

namespace tutti::command {

// Each adds its subcommand to `app`; the callback stores the process's exit status in *exit_status.
// Errors are thrown (tutti::Error) and printed by main as "tutti SUBCOMMAND: message".
void add_topo(cli::Command app, int* exit_status);
void add_run(cli::Command app, int* exit_status);
void add_agent(cli::Command app, int* exit_status);  // not for users
void add_plan(cli::Command app, int* exit_status);
void add_tune(cli::Command app, int* exit_status);
void add_doctor(cli::Command app, int* exit_status);
void add_trace(cli::Command app, int* exit_status);
void add_top(cli::Command app, int* exit_status);
void add_metrics(cli::Command app, int* exit_status);

// Removes the "--" between the options of `tutti run` and PROGRAM: the parser would hand what
// follows to the wrong subcommand.
void drop_run_separator(cli::Command app, std::vector<std::string>& arguments);

}  // namespace tutti::command
