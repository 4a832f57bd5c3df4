// SPDX-License-Identifier: Apache-2.0
// `tutti top`: shows running jobs live.
#include <unistd.h>

#include <algorithm>
#include <csignal>
#include <cstdio>
#include <memory>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include <spdlog/fmt/fmt.h>

#include "perf/cli/cli.h"
#include "perf/command.h"
#include "perf/jobs.h"
#include "perf/screen.h"
#include "perf/top_table.h"
#include "src/base/clock.h"
#include "src/base/error.h"
#include "src/base/wait.h"

namespace tutti::command {
namespace {

constexpr int kProblemStatus = 3;

struct TopOptions {
  JobOptions jobs;
  double interval_s = 1;
  bool once = false;
  bool json = false;

  int64_t interval_ns() const { return static_cast<int64_t>(interval_s * kNsPerSecond); }
};

// Two looks at the jobs, and what they say together.
class Top {
 public:
  explicit Top(const TopOptions& options) : options_(options) {}

  void look() {
    before_ = std::move(now_);
    now_ = read_jobs(options_.jobs, before_.has_value());
    const trace::Timeline timeline(now_->recordings);
    const auto comms = trace::live_view(
        timeline, before_.has_value() ? &before_->recordings : nullptr, trace::fate_of_process);
    problem_ = std::ranges::any_of(comms, [](const trace::LiveComm& c) {
      return !c.failure.empty() ||
             std::ranges::any_of(c.waits, [](const trace::Wait& w) { return w.stuck; });
    });
    lines_ = top_lines(comms);
    if (options_.json) json_ = top_json(comms, now_->warnings);
  }
  bool found() const { return !now_->recordings.empty(); }
  std::string nothing() const { return nothing_found(options_.jobs, *now_); }
  bool problem() const { return problem_; }

  std::vector<std::string> lines() const {
    std::vector<std::string> all = lines_;
    if (!found()) all.push_back(nothing());
    for (const std::string& warning : now_->warnings) all.push_back("tutti top: " + warning);
    return all;
  }
  void print() const {
    if (options_.json) {
      fmt::print("{}\n", json_);
    } else {
      for (const std::string& line : lines_) fmt::print("{}\n", line);
      for (const std::string& warning : now_->warnings)
        fmt::print(stderr, "tutti top: {}\n", warning);
    }
    std::fflush(stdout);
  }

 private:
  const TopOptions& options_;
  std::optional<Found> before_, now_;
  std::vector<std::string> lines_;
  std::string json_;
  bool problem_ = false;
};

// Until the jobs have ended; with --once for one interval.
int print_plainly(const TopOptions& options) {
  Top top(options);
  top.look();
  if (!top.found()) throw Error(StatusCode::kInvalidArgument, top.nothing());
  bool problem = false;
  do {
    sleep_ns(options.interval_ns());
    top.look();
    if (!top.found()) return problem ? kProblemStatus : 0;
    problem = top.problem();
    top.print();
  } while (!options.once && std::ferror(stdout) == 0);
  return problem ? kProblemStatus : 0;
}

int show_live(const TopOptions& options) {
  Top top(options);
  int signal = 0;
  {
    Screen screen;
    do {
      top.look();
      screen.draw(top.lines());
    } while (screen.wait(options.interval_ns()));
    signal = screen.ended_by();
  }
  return signal == SIGINT ? 0 : 128 + signal;
}

int run_top(const TopOptions& options) {
  const bool live = !options.once && !options.json && ::isatty(STDOUT_FILENO) == 1;
  return live ? show_live(options) : print_plainly(options);
}

}  // namespace

void add_top(cli::Command app, int* exit_status) {
  auto options = std::make_shared<TopOptions>();
  cli::Command top = app.add_subcommand("top", "Show running jobs live: who does what, who waits");
  add_job_options(top, &options->jobs);
  top.add_option("--interval", options->interval_s, "Seconds between two looks")
      .capture_default_str()
      .range(0.05, 3600.0);
  top.add_flag("--once", options->once, "Print one table, measured over one interval, and end");
  top.add_flag("--json", options->json, "Print one JSON object per interval");
  top.footer(R"(
S is the state of the process: R runs, S sleeps, T stopped, gone. OPERATION is what the rank is in, or its last one; FOR
how long. OP/S and GB/S (size of the operations by the time inside them: algbw) are of the last interval. WAITS FOR is
the peer that the rank has waited for for a millisecond or more. The lines below a table follow these to their end.
Reads the recordings that every rank keeps; the job is not disturbed. Ranks of other hosts and, unless root asks, of
other users are not seen. On a terminal Ctrl-C ends it; else it ends with the jobs.
Exit status of --once: 3 when a rank waits for one that is stopped or gone, or a communicator has failed, else 0.

Examples:
  tutti top
  tutti top --once --json 4711
  tutti top --dir /tmp/rings --once)");
  top.callback([options, exit_status] { *exit_status = run_top(*options); });
}

}  // namespace tutti::command
