// SPDX-License-Identifier: Apache-2.0
// `tutti plan run`: has a bandwidth binary carry its calls by a plan from a file.
#include <array>
#include <cstdlib>
#include <filesystem>
#include <memory>
#include <string>
#include <vector>

#include <spdlog/fmt/fmt.h>

#include "perf/cli/cli.h"
#include "perf/cmd_plan.h"
#include "perf/launcher.h"
#include "perf/plan_source.h"
#include "src/base/error.h"
#include "src/verify/verifier.h"

namespace tutti::command {
namespace {

constexpr int32_t kMostSlots = 64;

struct PlanRunOptions {
  std::string file;
  RunOptions job;
};

[[noreturn]] void refuse(const std::string& what) {
  throw Error(StatusCode::kInvalidArgument, what);
}

const char* binary_of(plan::Collective collective) {
  constexpr std::array<const char*, plan::kCollectiveCount> kBinaries = {
      "all_reduce_perf", "reduce_perf",         "broadcast_perf",
      "all_gather_perf", "reduce_scatter_perf", "alltoall_perf",
      "gather_perf",     "scatter_perf",        nullptr};
  return kBinaries[static_cast<size_t>(collective)];
}

// The number of ranks is the plan's.
void check_arguments(const std::vector<std::string>& arguments) {
  for (const std::string& argument : arguments)
    for (const char* taken : {"-t", "-g", "--nthreads", "--ngpus"})
      if (argument.starts_with(taken))
        refuse(
            fmt::format("{}: the number of ranks is the plan's; use --threads to run them as "
                        "threads",
                        argument));
}

void check_slots(const verify::Verdict& verdict, const std::string& file) {
  if (verdict.min_slots <= kMostSlots) return;
  refuse(fmt::format("{} needs {} slots per connection; a connection has at most {}", file,
                     verdict.min_slots, kMostSlots));
}

int run_plan(PlanRunOptions options, std::vector<std::string> arguments) {
  if (options.file == "-") refuse("expected a FILE that every rank can be started with, got -");
  check_arguments(arguments);
  const plan::Plan plan = load_plan_file(options.file);
  const verify::Verdict verdict = verify::verify(plan);
  const std::string title = plan_title(options.file, plan);
  if (!verdict.accepted) refuse(fmt::format("{}: REJECTED: {}", title, verdict.reason));
  const char* binary = binary_of(plan.shape.collective);
  if (binary == nullptr)
    refuse(
        fmt::format("{}: no bandwidth binary calls {}", title, plan::name(plan.shape.collective)));
  check_slots(verdict, options.file);
  setenv("TUTTI_PLAN_FILE", std::filesystem::absolute(options.file).c_str(), 1);
  fmt::print("# {}, accepted, needs {} slots\n", title, verdict.min_slots);
  std::fflush(stdout);
  options.job.ranks = plan.shape.n_ranks;
  options.job.command = {binary};
  if (plan::has_root(plan.shape.collective)) {
    options.job.command.insert(options.job.command.end(), {"-r", std::to_string(plan.shape.root)});
  }
  if (arguments.empty()) arguments = {"-b", "1K", "-e", "16M", "-f", "8"};
  options.job.command.insert(options.job.command.end(), arguments.begin(), arguments.end());
  return run_job(options.job);
}

}  // namespace

void add_plan_run(cli::Command plan, int* exit_status) {
  cli::Command command = plan.add_subcommand(
      "run", "Verify a plan, run it on real ranks, check the results, print the bandwidth");
  auto options =
      std::make_shared<PlanRunOptions>();  // shared with the callback, which the parser keeps
  command.prefix_command();
  command.add_flag("--threads", options->job.threads,
                   "Ranks as threads of one process instead of processes");
  command
      .add_option("--timeout", options->job.timeout_seconds, "Stop the job after so many seconds")
      .range(0.001, 1e9)
      .type_name("SECONDS");
  command.footer(
      "Usage: tutti plan run [OPTIONS] FILE [ARGUMENTS...]\n"
      "FILE is a plan as JSON or an MSCCL schedule; it says the collective, the root and the "
      "number "
      "of ranks. ARGUMENTS are\n"
      "those of the collective's bandwidth binary, for example -b 8 -e 64M -f 4 -d half -o max.\n"
      "An own program takes the plan from TUTTI_PLAN_FILE.\n\n"
      "Examples:\n"
      "  tutti plan run schedule.xml\n"
      "  tutti plan run --threads ring4.json -b 1M -e 1M -d bfloat16");
  command.callback([command, options, exit_status] {
    std::vector<std::string> words = command.remaining();
    if (words.empty()) throw cli::missing("FILE");
    if (words[0].starts_with('-') && words[0] != "-")
      throw cli::unexpected(words[0] + " (options of tutti plan run come before FILE)");
    options->file = words[0];
    *exit_status = run_plan(*options, {words.begin() + 1, words.end()});
  });
}

}  // namespace tutti::command
