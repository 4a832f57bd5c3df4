// SPDX-License-Identifier: Apache-2.0
// `tutti metrics`: the counters of running jobs as Prometheus text.
#include <memory>
#include <vector>

#include <spdlog/fmt/fmt.h>

#include "perf/cli/cli.h"
#include "perf/command.h"
#include "perf/jobs.h"
#include "src/base/error.h"
#include "src/trace/prometheus.h"

namespace tutti::command {
namespace {

int run_metrics(const JobOptions& options) {
  const Found found = read_jobs(options);
  if (found.recordings.empty())
    throw Error(StatusCode::kInvalidArgument, nothing_found(options, found));
  for (const std::string& warning : found.warnings)
    fmt::print(stderr, "tutti metrics: {}\n", warning);
  std::vector<trace::Counters> all;
  for (const trace::Recording& r : found.recordings) all.push_back(trace::counters_of(r));
  fmt::print("{}", trace::prometheus_text(all));
  return 0;
}

}  // namespace

void add_metrics(cli::Command app, int* exit_status) {
  auto options = std::make_shared<JobOptions>();
  cli::Command metrics =
      app.add_subcommand("metrics", "Print the counters of running jobs as Prometheus text");
  add_job_options(metrics, options.get());
  metrics.footer(R"(
Reads the flight recordings that every rank keeps; the job is not disturbed. A program gets the same text for itself from
tuttiMetricsText; TUTTI_METRICS_FILE makes every process leave it in a file when a communicator ends.

Examples:
  tutti metrics                  all jobs of this user on this host
  tutti metrics 4711             one process
  tutti metrics --dir /tmp/rings what a finished or killed job has left (TUTTI_TRACE_DIR))");
  metrics.callback([options, exit_status] { *exit_status = run_metrics(*options); });
}

}  // namespace tutti::command
