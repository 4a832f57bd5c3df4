// SPDX-License-Identifier: Apache-2.0
// The `tutti` command: each subcommand is one file that adds itself to the parser.
#pragma once

#include <string>
#include <vector>

namespace CLI {
class App;
}

namespace tutti::command {

// Each adds its subcommand to `app`; the callback stores the process's exit status in *exit_status.
// Errors are thrown (tutti::Error) and printed by main as "tutti SUBCOMMAND: message".
void add_topo(CLI::App& app, int* exit_status);
void add_run(CLI::App& app, int* exit_status);
void add_plan(CLI::App& app, int* exit_status);
void add_tune(CLI::App& app, int* exit_status);
void add_doctor(CLI::App& app, int* exit_status);
void add_trace(CLI::App& app, int* exit_status);
void add_top(CLI::App& app, int* exit_status);
void add_metrics(CLI::App& app, int* exit_status);

// Removes the "--" between the options of `tutti run` and PROGRAM: the parser would hand what
// follows to the wrong subcommand.
void drop_run_separator(const CLI::App& app, std::vector<std::string>& arguments);

}  // namespace tutti::command
