// SPDX-License-Identifier: Apache-2.0
// `tutti plan`: lists the algorithms, prints the plans they make, and runs the verifier.
#include <unistd.h>

#include <cstdio>
#include <fstream>
#include <functional>
#include <iostream>
#include <memory>
#include <sstream>
#include <string>
#include <vector>

#include <CLI/CLI.hpp>
#include <spdlog/fmt/fmt.h>

#include "perf/broken_plans.h"
#include "perf/command.h"
#include "src/base/error.h"
#include "src/planner/planner.h"
#include "src/verify/verifier.h"

namespace tutti::command {
namespace {

using plan::Collective;
using planner::AlgorithmRow;
using planner::PlanRequest;

constexpr int32_t kMaxRanks = 16;  // of what `list` and `verify` look at
constexpr int32_t kMaxChannels = 2;

// ---- list ----

// "1-16", "2, 4, 8, 16"
std::string supported_ranks(const AlgorithmRow& row) {
  auto supports = [&](int32_t n) {
    return n <= kMaxRanks && row.supports({row.collective, n, 0, 1});
  };
  std::string text;
  for (int32_t n = 1; n <= kMaxRanks; ++n) {
    if (!supports(n)) continue;
    int32_t last = n;
    while (supports(last + 1)) ++last;
    text += text.empty() ? "" : ", ";
    text += last == n ? fmt::format("{}", n) : fmt::format("{}-{}", n, last);
    n = last;
  }
  return text;
}

void list() {
  constexpr const char* kFormat = "{:<15} {:<19} {:<7} {:<13} {}\n";
  fmt::print(kFormat, "collective", "algorithm", "uneven", fmt::format("of {} ranks", kMaxRanks),
             "source");
  for (int i = 0; i < plan::kCollectiveCount; ++i)
    for (const AlgorithmRow& row : planner::algorithm_table())
      if (row.collective == static_cast<Collective>(i))
        fmt::print(kFormat, plan::name(row.collective), row.name, row.uneven ? "yes" : "no",
                   supported_ranks(row), row.source);
}

// ---- show ----

struct ShowOptions {
  std::string collective;
  std::string algorithm;
  PlanRequest request;
  std::string as = "text";
};

const AlgorithmRow& row_for(const ShowOptions& options) {
  const AlgorithmRow* row = planner::find_algorithm(options.request.collective, options.algorithm);
  if (row == nullptr) {
    std::string known;
    for (const AlgorithmRow& other : planner::algorithm_table())
      if (other.collective == options.request.collective)
        known += (known.empty() ? "" : ", ") + std::string(other.name);
    throw Error(StatusCode::kInvalidArgument,
                fmt::format("--algorithm: expected one of {} for {}, got \"{}\"", known,
                            options.collective, options.algorithm));
  }
  if (!row->supports(options.request))
    throw Error(
        StatusCode::kInvalidArgument,
        fmt::format("{} {} does not support {} ranks with root {}; of 1-{} ranks it supports {}",
                    options.collective, row->name, options.request.n_ranks, options.request.root,
                    kMaxRanks, supported_ranks(*row)));
  return *row;
}

void check_request(const PlanRequest& request) {
  if (request.root == 0) return;
  if (!plan::has_root(request.collective))
    throw Error(StatusCode::kInvalidArgument,
                fmt::format("--root: {} has no root, got {}; leave it out",
                            plan::name(request.collective), request.root));
  if (request.root >= request.n_ranks)
    throw Error(StatusCode::kInvalidArgument,
                fmt::format("--root: expected 0 to {}, got {}", request.n_ranks - 1, request.root));
}

void show(ShowOptions options) {
  options.request.collective = plan::collective_from_name(options.collective);
  check_request(options.request);
  const plan::Plan plan = row_for(options).build(options.request);
  const plan::PlanSize size = plan::size_of(plan);
  const std::string sizes = fmt::format(
      "{} steps, {} messages per tile, longest lane {} steps, {} slots, {} tiles in flight, hash "
      "{:016x}\n",
      size.steps, size.messages, size.longest_lane, plan.slots, plan.tiles_in_flight,
      plan::hash(plan));
  const bool json = options.as == "json";
  const std::string text = json ? plan::to_json(plan) : plan::to_text(plan);
  fmt::print("{}{}", text, text.ends_with('\n') ? "" : "\n");
  fmt::print(json ? stderr : stdout, "{}", sizes);  // keeps the JSON on the output alone
}

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
};

std::string title(const AlgorithmRow& row, const PlanRequest& request) {
  return fmt::format("{} {}, {} ranks, root {}, {} channel{}", plan::name(row.collective), row.name,
                     request.n_ranks, request.root, request.channels,
                     request.channels == 1 ? "" : "s");
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
    for (int32_t n = 1; n <= kMaxRanks; ++n)
      for (int32_t root = 0; root < (plan::has_root(row.collective) ? n : 1); ++root)
        for (int32_t channels = 1; channels <= kMaxChannels; ++channels) {
          const PlanRequest request{row.collective, n, root, channels};
          if (row.supports(request)) visit(row, request);
        }
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
  fmt::print("{} plans accepted, {} rejected\n", tally.accepted, tally.rejected);
  return tally.rejected + tally.broken_accepted > 0 ? 1 : 0;
}

// ---- verify: files ----

std::string read_all(const std::string& path) {
  std::ostringstream text;
  if (path == "-") {
    text << std::cin.rdbuf();
    return text.str();
  }
  std::ifstream file(path);
  if (file) text << file.rdbuf();
  if (!file)
    throw Error(StatusCode::kInvalidArgument,
                fmt::format("can't read the plan {}: give a file made by "
                            "`tutti plan show --as json`, or - for the standard input",
                            path));
  return text.str();
}

void print_verdict(const std::string& path, const plan::Plan& plan,
                   const verify::Verdict& verdict) {
  const std::string what =
      fmt::format("{}: {} {}, {} ranks", path, plan::name(plan.shape.collective), plan.algorithm,
                  plan.shape.n_ranks);
  if (!verdict.accepted) {
    fmt::print("{}: REJECTED: {}\n", what, verdict.reason);
    return;
  }
  fmt::print("{}: accepted, needs {} of its {} slots\n", what, verdict.min_slots, plan.slots);
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
    const std::string text = read_all(path);
    try {
      const plan::Plan plan = plan::from_json(text);
      const verify::Verdict verdict = verify::verify(plan);
      print_verdict(path, plan, verdict);
      ++(verdict.accepted ? tally.accepted : tally.rejected);
      if (verdict.accepted && self_test) verify_broken_variants(plan, path, &tally);
    } catch (const Error& error) {  // not a plan: the other files still get their verdict
      fmt::print("{}: REJECTED: {}\n", path, error.what());
      ++tally.rejected;
    }
  }
  if (self_test)
    fmt::print("self-test: {} broken variants rejected, {} not noticed\n", tally.broken_rejected,
               tally.broken_accepted);
  fmt::print("{} plans accepted, {} rejected\n", tally.accepted, tally.rejected);
  return tally.rejected + tally.broken_accepted > 0 ? 1 : 0;
}

// ---- the parser ----

void add_show(CLI::App& plan) {
  auto* command = plan.add_subcommand("show", "Print the plan that an algorithm makes");
  auto options =
      std::make_shared<ShowOptions>();  // shared with the callback, which the parser keeps
  command
      ->add_option("--collective", options->collective,
                   "What the plan does, e.g. all_reduce (see `tutti plan list`)")
      ->required();
  command->add_option("--algorithm", options->algorithm, "How, e.g. ring (see `tutti plan list`)")
      ->required();
  command->add_option("-n,--ranks", options->request.n_ranks, "Number of ranks")
      ->required()
      ->check(CLI::Range(1, 1024));
  command->add_option("--root", options->request.root, "Root, for collectives that have one")
      ->check(CLI::NonNegativeNumber);
  command->add_option("--channels", options->request.channels, "Parallel rings or trees")
      ->capture_default_str()
      ->check(CLI::Range(1, 64));
  command
      ->add_option("--as", options->as,
                   "text: one line per step; json: a file for `tutti plan verify`")
      ->capture_default_str()
      ->check(CLI::IsMember({"text", "json"}));
  command->footer(
      "In the text, `output[1], peer 3 <- reduce(peer 1, input[1])` receives from rank 1, adds "
      "chunk 1 of the input, writes\n"
      "the sum to chunk 1 of the output and sends it to rank 3.\n\n"
      "Examples:\n"
      "  tutti plan show --collective all_reduce --algorithm ring -n 4\n"
      "  tutti plan show --collective broadcast --algorithm binomial -n 5 --root 2\n"
      "  tutti plan show --collective all_reduce --algorithm ring -n 4 --as json > ring4.json");
  command->callback([options] { show(*options); });
}

void add_verify(CLI::App& plan, int* exit_status) {
  auto* command = plan.add_subcommand(
      "verify", "Prove plans: exactly once, no deadlock, no race, nothing left over");
  struct Options {
    std::vector<std::string> files;
    bool self_test = false;
  };
  auto options = std::make_shared<Options>();  // shared with the callback, which the parser keeps
  command->add_option("FILE", options->files,
                      "Plans as JSON, - for the standard input; none: every plan of the library");
  command->add_flag("--self-test", options->self_test,
                    "Also break each plan in several ways and expect every one rejected");
  command->footer(fmt::format(
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
      kMaxRanks, kMaxChannels));
  command->callback([options, exit_status] {
    *exit_status = options->files.empty() ? verify_library(options->self_test)
                                          : verify_files(options->files, options->self_test);
  });
}

}  // namespace

void add_plan(CLI::App& app, int* exit_status) {
  auto* plan = app.add_subcommand(
      "plan", "List, print and verify plans: what a collective does, step by step");
  plan->require_subcommand(1);
  plan->footer(
      "Examples:\n"
      "  tutti plan list\n"
      "  tutti plan show --collective all_reduce --algorithm ring -n 4\n"
      "  tutti plan verify");
  plan->add_subcommand("list",
                       "Table of collectives, algorithms and the numbers of ranks they support")
      ->callback(list);
  add_show(*plan);
  add_verify(*plan, exit_status);
}

}  // namespace tutti::command
