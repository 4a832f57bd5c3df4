// SPDX-License-Identifier: Apache-2.0
// `tutti run`: starts the ranks of a job on this host.
#include <memory>
#include <string>
#include <vector>

#include "perf/cli/cli.h"
#include "perf/command.h"
#include "perf/launcher.h"

namespace tutti::command {
namespace {

constexpr int kMaxRanks = 4096;

constexpr const char* kFooter = R"(
PROGRAM is a path, or a name looked up beside tutti, then on PATH. A "--" before it is allowed; what comes after it is
the program's own.
Each process gets TUTTI_RANK, TUTTI_SIZE, TUTTI_LOCAL_RANK, TUTTI_LOCAL_SIZE and TUTTI_JOB in its environment.

Output: standard output of rank 0 passes unchanged, so that it can be piped and parsed; every other line begins with
"[rank] ". Lines are never mixed. A single process writes to the terminal itself.
Input: goes to rank 0; the others read /dev/null.
Signals: SIGINT, SIGTERM, SIGHUP, SIGQUIT, SIGUSR1, SIGUSR2, SIGTSTP and SIGCONT are passed on to all ranks. A second
SIGINT, SIGTERM, SIGHUP or SIGQUIT stops them.
Failure: when a rank exits with a status other than 0 or is killed, the others get SIGTERM and after 2 s SIGKILL. A rank's
own child processes end with it.
Exit status: that of the rank that failed first, 128 + N when signal N killed it; 124 after --timeout; 127 when there is
no such program.

Examples:
  tutti run -n 4 all_reduce_perf -b 8 -e 64M -f 4
  tutti run -n 4 --threads all_reduce_perf          the same ranks as threads of one process
  tutti run -n 2 --bind --timeout 60 ./my_program)";

}  // namespace

void drop_run_separator(cli::Command app, std::vector<std::string>& arguments) {
  if (arguments.empty() || arguments[0] != "run") return;
  const cli::Command run = app.subcommand("run");
  for (size_t i = 1; i < arguments.size() && arguments[i].starts_with('-'); ++i) {
    if (arguments[i] == "--") {
      arguments.erase(arguments.begin() + static_cast<ptrdiff_t>(i));
      return;
    }
    if (run.takes_value(arguments[i])) ++i;
  }
}

void add_run(cli::Command app, int* exit_status) {
  auto options = std::make_shared<RunOptions>();
  cli::Command run = app.add_subcommand("run", "Start a program as N ranks on this host");
  run.usage("Usage: tutti run -n N [OPTIONS] PROGRAM [ARGUMENTS...]\n");
  run.footer(kFooter);
  run.prefix_command();  // the first word that is no option is PROGRAM; it and all that follows
                         // lands in remaining()
  run.add_option("-n,--ranks", options->ranks, "Number of ranks").required().range(1, kMaxRanks);
  run.add_flag(
      "--threads", options->threads,
      "Start one process with TUTTI_THREADS=N, for programs that run their ranks as threads");
  const cli::Option bind = run.add_flag_callback(
      "--bind", [options] { options->pinning = Pinning::kRoundRobin; },
      "Pin each rank to one usable core, round robin (by default a rank is pinned to its share of "
      "the "
      "cores, unless there are more ranks than cores)");
  run.add_flag_callback(
         "--no-bind", [options] { options->pinning = Pinning::kNone; },
         "Leave placement to the system")
      .excludes(bind);
  run.add_option("--timeout", options->timeout_seconds, "Stop the job after so many seconds")
      .range(0.001, 1e9)
      .type_name("SECONDS");
  const cli::Option none = run.add_flag_callback(
      "--no-prefix", [options] { options->prefix = PrefixMode::kNone; },
      "Pass all lines on as they are");
  run.add_flag_callback(
         "--prefix-all", [options] { options->prefix = PrefixMode::kAll; },
         "Mark rank 0's standard output too")
      .excludes(none);
  run.callback([run, options, exit_status] {
    options->command = run.remaining();
    if (options->command.empty()) throw cli::missing("PROGRAM");
    if (options->command[0].starts_with('-'))
      throw cli::unexpected(options->command[0] + " (options of tutti run come before PROGRAM)");
    *exit_status = run_job(*options);
  });
}

}  // namespace tutti::command
