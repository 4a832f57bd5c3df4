// SPDX-License-Identifier: Apache-2.0
// The subcommands of `tutti plan` that have a file of their own.
#pragma once

namespace CLI {
class App;
}

namespace tutti::command {

void add_plan_verify(CLI::App& plan, int* exit_status);
void add_plan_explain(CLI::App& plan, int* exit_status);
void add_plan_run(CLI::App& plan, int* exit_status);

}  // namespace tutti::command
