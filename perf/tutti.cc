// SPDX-License-Identifier: Apache-2.0
// The `tutti` command: dispatches to one subcommand and turns its errors into messages and an exit
// status.
#include "include/tutti/tutti.h"

#include <cstdio>
#include <exception>
#include <string>
#include <vector>

#include <spdlog/fmt/fmt.h>

#include "perf/cli/cli.h"
#include "perf/command.h"
#include "perf/tune/rank.h"

namespace {

constexpr int kFailureStatus = 1;
constexpr int kUsageStatus = 2;

constexpr const char* kFooter = R"(
Examples:
  tutti topo                                     what this machine is made of
  tutti doctor                                   what works here, what does not, and what to do
  tutti run -n 4 all_reduce_perf -b 8 -e 64M     four ranks on this host
  tutti run --hosts a:4,b:4 all_reduce_perf      four each on two
  tutti plan list                                the algorithms and what they cost
  tutti tune                                     measure this machine, so that the library chooses by it
  tutti trace /tmp/rings                         why the job that left these recordings hangs
  tutti top                                      what running jobs do, and who waits for whom
  tutti metrics                                  their counters, for Prometheus

"tutti SUBCOMMAND --help" explains a subcommand. Exit status: 0, 1 after an error, 2 after wrong usage.)";

std::string name_in_messages(const tutti::cli::CommandLine& line) {
  const std::string chosen = line.chosen_subcommand();
  return chosen.empty() ? "tutti" : "tutti " + chosen;
}

int fail(const tutti::cli::CommandLine& line, const std::string& message, int status) {
  fmt::print(stderr, "{}: {}\n", name_in_messages(line), message);
  return status;
}

}  // namespace

int main(int argc, char** argv) {
  tutti::cli::CommandLine line(
      "Collective communication on verified plans: look at machines, plans and jobs.", "tutti");
  int exit_status = 0;
  try {
    line.version_flag("--version",
                      fmt::format("tutti {}.{}.{}", TUTTI_MAJOR, TUTTI_MINOR, TUTTI_PATCH));
    line.require_subcommand();
    line.footer(kFooter);
    tutti::command::add_topo(line, &exit_status);
    tutti::command::add_run(line, &exit_status);
    tutti::command::add_agent(line, &exit_status);
    tutti::command::add_plan(line, &exit_status);
    tutti::command::add_tune(line, &exit_status);
    tutti::command::add_tune_rank(line, &exit_status);
    tutti::command::add_doctor(line, &exit_status);
    tutti::command::add_trace(line, &exit_status);
    tutti::command::add_top(line, &exit_status);
    tutti::command::add_metrics(line, &exit_status);
    if (argc < 2) {
      fmt::print(stderr, "{}", line.help());
      return kUsageStatus;
    }
    std::vector<std::string> arguments(argv + 1, argv + argc);
    tutti::command::drop_run_separator(line, arguments);
    return line.parse_or_throw(arguments) ? exit_status : 0;
  } catch (const tutti::cli::UsageError& error) {
    return fail(line,
                std::string(error.what()) + "\nTry \"" + name_in_messages(line) + " --help\".",
                kUsageStatus);
  } catch (const std::exception& error) {
    return fail(line, error.what(), kFailureStatus);
  }
}
