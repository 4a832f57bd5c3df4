// SPDX-License-Identifier: Apache-2.0
// The `tutti` command: dispatches to one subcommand and turns its errors into messages and an exit
// status.
#include "include/tutti/tutti.h"

#include <algorithm>
#include <cstdio>
#include <exception>
#include <string>
#include <utility>
#include <vector>

#include <CLI/CLI.hpp>
#include <spdlog/fmt/fmt.h>

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
  tutti plan list                                the algorithms and what they cost
  tutti tune                                     measure this machine, so that the library chooses by it
  tutti trace /tmp/rings                         why the job that left these recordings hangs
  tutti top                                      what running jobs do, and who waits for whom
  tutti metrics                                  their counters, for Prometheus

"tutti SUBCOMMAND --help" explains a subcommand. Exit status: 0, 1 after an error, 2 after wrong usage.)";

std::string name_in_messages(const CLI::App& app) {
  const auto chosen = app.get_subcommands();
  return chosen.empty() ? "tutti" : "tutti " + chosen.front()->get_name();
}

int fail(const CLI::App& app, const std::string& message, int status) {
  fmt::print(stderr, "{}: {}\n", name_in_messages(app), message);
  return status;
}

}  // namespace

int main(int argc, char** argv) {
  CLI::App app("Collective communication on verified plans: look at machines, plans and jobs.",
               "tutti");
  int exit_status = 0;
  try {
    app.set_version_flag("--version",
                         fmt::format("tutti {}.{}.{}", TUTTI_MAJOR, TUTTI_MINOR, TUTTI_PATCH));
    app.require_subcommand(1);
    app.footer(kFooter);
    tutti::command::add_topo(app, &exit_status);
    tutti::command::add_run(app, &exit_status);
    tutti::command::add_plan(app, &exit_status);
    tutti::command::add_tune(app, &exit_status);
    tutti::command::add_tune_rank(app, &exit_status);
    tutti::command::add_doctor(app, &exit_status);
    tutti::command::add_trace(app, &exit_status);
    tutti::command::add_top(app, &exit_status);
    tutti::command::add_metrics(app, &exit_status);
    if (argc < 2) {
      fmt::print(stderr, "{}", app.help());
      return kUsageStatus;
    }
    std::vector<std::string> arguments(argv + 1, argv + argc);
    tutti::command::drop_run_separator(app, arguments);
    std::reverse(arguments.begin(), arguments.end());  // as the parser wants them
    app.parse(std::move(arguments));
    return exit_status;
  } catch (const CLI::Success& success) {  // --help, --version
    return app.exit(success);
  } catch (const CLI::ParseError& error) {
    return fail(app, std::string(error.what()) + "\nTry \"" + name_in_messages(app) + " --help\".",
                kUsageStatus);
  } catch (const std::exception& error) {
    return fail(app, error.what(), kFailureStatus);
  }
}
