// SPDX-License-Identifier: Apache-2.0
// `tutti plan verify`: proves plans of the library or of files.
#include <unistd.h>

#include <algorithm>
#include <cstdio>
#include <functional>
#include <memory>
#include <string>
#include <vector>

#include <spdlog/fmt/fmt.h>

#include "perf/broken_plans.h"
#include "perf/cli/cli.h"
#include "perf/cmd_plan.h"
#include "perf/plan_source.h"
#include "src/base/error.h"
#include "src/verify/verifier.h"

namespace tutti::command {
namespace {

using planner::AlgorithmRow;
using planner::PlanRequest;

constexpr int32_t kMaxChannels = 2;

// ---- verify: what the library makes ----

// Overwrites one line of a terminal; silent elsewhere.
class ProgressLine {
 public:
  void update(const std::string& text) {
    if (!terminal_ || ++calls_ % 8 != 1) return;
    fmt::print(stderr, "\r\033[K{}", text);
    std::fflush(stderr);
  }
  void clear() const {
    if (terminal_) fmt::print(stderr, "\r\033[K");
  }

 private:
  const bool terminal_ = isatty(STDERR_FILENO) != 0;
  uint64_t calls_ = 0;
};

struct Tally {
  int64_t accepted = 0;
  int64_t rejected = 0;
  int64_t broken_rejected = 0;
  int64_t broken_accepted = 0;
  int32_t most_slots = 0;  // that an accepted plan needs
};

std::string title(const AlgorithmRow& row, const PlanRequest& request) {
  return fmt::format("{} {}, {} ranks on {}, root {}, {} channel{}", plan::name(row.collective),
                     row.name, request.n_ranks, request.hosts.text(), request.root,
                     request.channels, request.channels == 1 ? "" : "s");
}

void verify_broken_variants(const plan::Plan& plan, const std::string& what, Tally* tally) {
  for (const BrokenVariant& variant : broken_variants()) {
    const std::optional<plan::Plan> broken = variant.make(plan);
    if (!broken) continue;
    if (!verify::verify(*broken).accepted) {
      ++tally->broken_rejected;
      continue;
    }
    ++tally->broken_accepted;
    fmt::print("NOT NOTICED {}: {}\n", what, variant.name);
  }
}

void for_each_request(const std::function<void(const AlgorithmRow&, const PlanRequest&)>& visit) {
  for (const AlgorithmRow& row : planner::algorithm_table())
    for (const PlanRequest& request : listed_requests(row, kMaxChannels)) visit(row, request);
}

int verify_library(bool self_test) {
  Tally tally;
  ProgressLine progress;
  for_each_request([&](const AlgorithmRow& row, const PlanRequest& request) {
    const std::string what = title(row, request);
    progress.update(fmt::format("{} verified, {}", tally.accepted + tally.rejected, what));
    const plan::Plan plan = row.build(request);
    const verify::Verdict verdict = verify::verify(plan);
    ++(verdict.accepted ? tally.accepted : tally.rejected);
    tally.most_slots = std::max(tally.most_slots, verdict.min_slots);
    if (!verdict.accepted) {
      progress.clear();
      fmt::print("REJECTED {}: {}\n", what, verdict.reason);
    } else if (self_test) {
      verify_broken_variants(plan, what, &tally);
    }
  });
  progress.clear();
  if (self_test)
    fmt::print("self-test: {} broken variants rejected, {} not noticed\n", tally.broken_rejected,
               tally.broken_accepted);
  fmt::print("{} plans accepted, {} rejected; at most {} slots per connection are needed\n",
             tally.accepted, tally.rejected, tally.most_slots);
  return tally.rejected + tally.broken_accepted > 0 ? 1 : 0;
}

// ---- verify: files ----

void print_verdict(const std::string& path, const plan::Plan& plan,
                   const verify::Verdict& verdict) {
  const std::string what = plan_title(path, plan);
  if (!verdict.accepted) {
    fmt::print("{}: REJECTED: {}\n", what, verdict.reason);
    return;
  }
  fmt::print("{}: accepted, {}\n", what, what_is_proved(plan, verdict));
  if (verdict.connections.empty()) return;
  fmt::print("  connection  channel  messages/tile  references: out of place  in place\n");
  for (const verify::ConnectionVerdict& c : verdict.connections)
    fmt::print("  {:<11} {:>7} {:>14} {:>25} {:>9}\n",
               fmt::format("{} -> {}", c.source_rank, c.sink_rank), c.channel, c.messages_per_tile,
               c.reference_safe_out_of_place ? "safe" : "unsafe",
               c.reference_safe_in_place ? "safe" : "unsafe");
}

int verify_files(const std::vector<std::string>& paths, bool self_test) {
  Tally tally;
  for (const std::string& path : paths) {
    try {
      const plan::Plan plan = load_plan_file(path);
      const verify::Verdict verdict = verify::verify(plan);
      print_verdict(path, plan, verdict);
      ++(verdict.accepted ? tally.accepted : tally.rejected);
      if (verdict.accepted && self_test) verify_broken_variants(plan, path, &tally);
    } catch (const Error& error) {  // not a plan: the other files still get their verdict
      fmt::print("REJECTED {}\n", error.what());
      ++tally.rejected;
    }
  }
  if (self_test)
    fmt::print("self-test: {} broken variants rejected, {} not noticed\n", tally.broken_rejected,
               tally.broken_accepted);
  fmt::print("{} plans accepted, {} rejected\n", tally.accepted, tally.rejected);
  return tally.rejected + tally.broken_accepted > 0 ? 1 : 0;
}

}  // namespace

void add_plan_verify(cli::Command plan, int* exit_status) {
  cli::Command command = plan.add_subcommand(
      "verify", "Prove plans: exactly once, no deadlock, no race, nothing left over");
  struct Options {
    std::vector<std::string> files;
    bool self_test = false;
  };
  auto options = std::make_shared<Options>();  // shared with the callback, which the parser keeps
  command.add_option(
      "FILE", options->files,
      "Plans as JSON or MSCCL XML, - for the standard input; none: every plan of the library");
  command.add_flag("--self-test", options->self_test,
                   "Also break each plan in several ways and expect every one rejected");
  command.footer(fmt::format(
      "Without files, verifies every plan that the library makes for 1 to {} ranks: every "
      "collective, algorithm and\n"
      "root, with 1 to {} channels. With files, prints for each the verdict, the slots it needs, "
      "and which connections\n"
      "may carry references instead of bytes. The exit status is 1 when a plan was rejected.\n\n"
      "Examples:\n"
      "  tutti plan verify\n"
      "  tutti plan verify --self-test\n"
      "  tutti plan show --collective all_gather --algorithm ring -n 4 --as json | tutti plan "
      "verify -",
      kMostListedRanks, kMaxChannels));
  command.callback([options, exit_status] {
    *exit_status = options->files.empty() ? verify_library(options->self_test)
                                          : verify_files(options->files, options->self_test);
  });
}

}  // namespace tutti::command
