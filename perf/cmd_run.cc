// SPDX-License-Identifier: Apache-2.0
// `tutti run`: starts the ranks of a job, on this host or on several.
#include <memory>
#include <string>
#include <vector>

#include "perf/cli/cli.h"
#include "perf/command.h"
#include "perf/hosts/agent.h"
#include "perf/launcher.h"
#include "src/base/config.h"

namespace tutti::command {
namespace {

constexpr int kMaxRanks = 4096;
constexpr int kMaxPort = 65000;  // room for further communicators' ports above it

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
Exit status: that of the rank that failed first, 128 + N when signal N killed it; 124 after --timeout; 125 when a host
could not be reached or was lost; 127 when there is no such program.

Several hosts: --hosts names them with their slots, which ranks fill in order; -n may be less. On each host tutti is
started over ssh, from the same path (or --tutti), and goes to the same folder (or --wdir). ssh must need no password.
A host that is this one is not gone through ssh. Another remote shell (--rsh, TUTTI_RSH) is called as ssh is:
SHELL HOST COMMAND...; it must pass input, output and the exit status.
All TUTTI_ variables are forwarded, and those named by -x. Ranks meet at an address of rank 0's host that all others have
been seen to reach (MASTER_ADDR, TUTTI_PORT), and know each other by a fresh secret (TUTTI_KEY), which no command line shows.
When a host is lost, or tutti run itself, all ranks end on all hosts.

Examples:
  tutti run -n 4 all_reduce_perf -b 8 -e 64M -f 4
  tutti run -n 4 --threads all_reduce_perf          the same ranks as threads of one process
  tutti run -n 2 --bind --timeout 60 ./my_program
  tutti run --hosts a:4,b:4 all_reduce_perf         ranks 0-3 on a, 4-7 on b
  tutti run --hosts a:4,b:4 -x LD_LIBRARY_PATH --rsh "ssh -p 2222" --interface eth1 ./my_program)";

void add_process_options(cli::Command run, const std::shared_ptr<RunOptions>& options) {
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
}

void add_host_options(cli::Command run, RunOptions& options, std::string& hosts) {
  HostOptions& how = options.on_hosts;
  const cli::Option list =
      run.add_option("--hosts", hosts, "Hosts with their slots, a:4,user@b:2,c (one slot)")
          .type_name("LIST");
  run.add_flag(
         "--threads", options.threads,
         "Start one process with TUTTI_THREADS=N, for programs that run their ranks as threads")
      .excludes(list);
  how.rsh = foreign_variable("TUTTI_RSH").value_or(how.rsh);
  run.add_option("--rsh", how.rsh, "Remote shell, with its options (TUTTI_RSH, else ssh)")
      .needs(list)
      .type_name("COMMAND");
  run.add_option("--tutti", how.tutti, "Path of tutti on the hosts (the path of this one)")
      .needs(list)
      .type_name("PATH");
  run.add_option("--wdir", how.folder, "Folder to run in on the hosts (this one)")
      .needs(list)
      .type_name("FOLDER");
  run.add_option("-x,--env", how.to_forward, "Variable for all ranks: NAME (as here) or NAME=VALUE")
      .one_each()
      .needs(list)
      .type_name("NAME");
  run.add_option("--interface", how.interface_prefix,
                 "Use only network interfaces whose name begins so (TUTTI_SOCKET_IFNAME)")
      .needs(list)
      .type_name("PREFIX");
  run.add_option("--port", how.port, "First TCP port to meet at on rank 0's host (a free one)")
      .needs(list)
      .range(1, kMaxPort);
  run.add_option("--start-timeout", how.start_seconds,
                 "Give up when the hosts are not ready after so many seconds (30)")
      .needs(list)
      .range(0.1, 1e6)
      .type_name("SECONDS");
}

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
  auto hosts = std::make_shared<std::string>();
  cli::Command run =
      app.add_subcommand("run", "Start a program as N ranks, on this host or on several");
  run.usage(
      "Usage: tutti run -n N [OPTIONS] PROGRAM [ARGUMENTS...]\n"
      "       tutti run --hosts a:4,b:4 [OPTIONS] PROGRAM [ARGUMENTS...]\n");
  run.footer(kFooter);
  run.prefix_command();  // the first word that is no option is PROGRAM; it and all that follows
                         // lands in remaining()
  options->ranks = 0;
  run.add_option("-n,--ranks", options->ranks,
                 "Number of ranks; with --hosts by default as many as there are slots")
      .range(1, kMaxRanks);
  add_host_options(run, *options, *hosts);
  add_process_options(run, options);
  run.callback([run, options, hosts, exit_status] {
    if (hosts->empty() && options->ranks == 0) throw cli::missing("--ranks");
    options->command = run.remaining();
    if (options->command.empty()) throw cli::missing("PROGRAM");
    if (options->command[0].starts_with('-'))
      throw cli::unexpected(options->command[0] + " (options of tutti run come before PROGRAM)");
    if (!hosts->empty()) options->hosts = share_ranks(*hosts, options->ranks);
    *exit_status = run_job(*options);
  });
}

void add_agent(cli::Command app, int* exit_status) {
  cli::Command agent =
      app.add_subcommand("agent", "Runs the ranks of one host; started by tutti run on another");
  agent.hide();
  agent.callback([exit_status] { *exit_status = run_agent(); });
}

}  // namespace tutti::command
