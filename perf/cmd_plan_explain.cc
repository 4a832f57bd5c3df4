// SPDX-License-Identifier: Apache-2.0
// `tutti plan explain`: which algorithm a call gets, and why.
#include <cstdio>
#include <cstdlib>
#include <memory>
#include <string>

#include <spdlog/fmt/fmt.h>

#include "perf/cli/cli.h"
#include "perf/cmd_plan.h"
#include "perf/explain/explain.h"
#include "perf/tune/job.h"
#include "src/base/config.h"
#include "src/base/error.h"
#include "src/comm/profile_file.h"

namespace tutti::command {
namespace {

constexpr int kMostRanks = 1024;
constexpr int kMostMeasuredRanks = 64;
constexpr uint64_t kMostMeasuredBytes = uint64_t{1} << 30;
constexpr Effort kEffort{.rounds = 15, .slice_ns = 2'000'000, .drop_above = 1e9};

struct ExplainOptions {
  std::string collective = "all_reduce";
  uint64_t bytes = 0;
  int ranks = 2;
  bool measure = false;
  bool json = false;
  std::string profile;  // empty: TUTTI_PROFILE
};

void check_measurable(const ExplainOptions& options) {
  if (options.ranks < 2 || options.ranks > kMostMeasuredRanks) {
    throw Error(StatusCode::kInvalidArgument,
                fmt::format("--measure: expected -n from 2 to {}, got {}", kMostMeasuredRanks,
                            options.ranks));
  }
  if (options.bytes % sizeof(float) != 0 || options.bytes > kMostMeasuredBytes) {
    throw Error(StatusCode::kInvalidArgument,
                fmt::format("--measure: expected --bytes to be a multiple of 4 (it sums floats) up "
                            "to 1G, got {}",
                            options.bytes));
  }
}

void measure_rows(const ExplainOptions& options, Explanation* explanation) {
  check_measurable(options);
  Point point{.collective = explanation->collective, .bytes = options.bytes};
  for (const ExplainedRow& row : explanation->rows)
    point.candidates.push_back({row.algorithm, explanation->slot_bytes, explanation->channels});
  const Request request{.effort = kEffort, .points = {point}};
  setenv("TUTTI_PROFILE", comm::kNoProfile, 1);  // the candidates say it all
  Progress progress(1, options.json);
  progress.begin(fmt::format("measuring on {} ranks", options.ranks));
  const Times times = measure(options.ranks, request, progress).front();
  for (size_t i = 0; i < times.size(); ++i) explanation->rows[i].measured_ns = median(times[i]);
}

int run_explain(const ExplainOptions& options) {
  const Config config = config_from_environment();
  const auto found =
      comm::find_profile(options.profile.empty() ? config.local.profile : options.profile);
  ExplainRequest request{.collective = plan::collective_from_name(options.collective),
                         .bytes = options.bytes,
                         .n_ranks = options.ranks,
                         .agreed = config.agreed};
  if (found.has_value()) {
    request.profile = &found->profile;
    request.profile_file = found->file;
  }
  Explanation explanation = explain(request);
  if (options.measure) measure_rows(options, &explanation);
  fmt::print("{}", options.json ? as_json(explanation) : as_table(explanation));
  return 0;
}

}  // namespace

void add_plan_explain(cli::Command plan, int* exit_status) {
  auto options =
      std::make_shared<ExplainOptions>();  // shared with the callback, which the parser keeps
  cli::Command command = plan.add_subcommand(
      "explain",
      "Say which algorithm a call gets on this machine, what the others would take, and why");
  command
      .add_option("--coll,--collective", options->collective, "What the call does, e.g. all_gather")
      .capture_default_str();
  command
      .add_option(
          "--bytes", options->bytes,
          "Bytes of one block: the count times the size of the datatype, as the C API takes "
          "them; suffixes K, M, G")
      .required()
      .size_suffix();
  command.add_option("-n,--ranks", options->ranks, "Number of ranks, on this host")
      .capture_default_str()
      .range(1, kMostRanks);
  command.add_flag("--measure", options->measure,
                   "Start the ranks and time every candidate, in turn");
  command.add_flag("--json", options->json, "Print JSON instead of text");
  command
      .add_option("--profile", options->profile,
                  "What `tutti tune` has written, or none (default: TUTTI_PROFILE)")
      .type_name("FILE");
  command.footer(R"(
predicted   what the planner goes by: its model's time, corrected by this machine's profile
messages    that the busiest rank sends in one call; bytes sent: in them
touched     bytes that it reads and writes, in buffers and in slots
protocol    how its largest messages go: inline, in the line that announces them; staged, through a slot; mapped, by
            reference where the receiver maps the memory, which is tuttiMemAlloc's

Variables as for any call apply: TUTTI_ALGO, TUTTI_SLOT_BYTES, TUTTI_PROTO ...

Examples:
  tutti plan explain --coll all_reduce --bytes 1M -n 4
  tutti plan explain --coll broadcast --bytes 64K -n 8 --measure
  tutti plan explain --bytes 8 --profile none --json)");
  command.callback([options, exit_status] { *exit_status = run_explain(*options); });
}

}  // namespace tutti::command
