// SPDX-License-Identifier: Apache-2.0
// The subcommands of `tutti plan` that have a file of their own.
#pragma once

namespace tutti::cli {
class Command;
}

namespace tutti::command {

void add_plan_verify(cli::Command plan, int* exit_status);
void add_plan_explain(cli::Command plan, int* exit_status);
void add_plan_certify(cli::Command plan, int* exit_status);
void add_plan_compare(cli::Command plan, int* exit_status);
void add_plan_run(cli::Command plan, int* exit_status);

}  // namespace tutti::command
