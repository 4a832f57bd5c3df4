// SPDX-License-Identifier: Apache-2.0
// `tutti plan`: lists the algorithms, prints and converts plans.
#include "perf/cmd_plan.h"

#include <cstdio>
#include <memory>
#include <string>

#include <spdlog/fmt/fmt.h>

#include "perf/cli/cli.h"
#include "perf/command.h"
#include "perf/plan_source.h"
#include "src/plan/msccl_xml.h"
#include "src/planner/planner.h"
#include "src/verify/verifier.h"

namespace tutti::command {
namespace {

using plan::Collective;
using planner::AlgorithmRow;

// Is every plan of the row proved to be eligible in deterministic mode for every datatype?
bool is_deterministic(const AlgorithmRow& row) {
  for (const planner::PlanRequest& request : listed_requests(row, 1)) {
    if (request.root == 0 &&
        planner::verified_plan(row, request)->verdict.fold_order != verify::FoldOrder::kInOrderOnce)
      return false;
  }
  return true;
}

void list() {
  constexpr const char* kFormat = "{:<15} {:<19} {:<7} {:<14} {:<13} {}\n";
  fmt::print(kFormat, "collective", "algorithm", "uneven", "deterministic",
             fmt::format("of {} ranks", kMostListedRanks), "source");
  for (int i = 0; i < plan::kCollectiveCount; ++i)
    for (const AlgorithmRow& row : planner::algorithm_table())
      if (row.collective == static_cast<Collective>(i))
        fmt::print(kFormat, plan::name(row.collective), row.name, row.uneven ? "yes" : "no",
                   is_deterministic(row) ? "yes" : "no", supported_ranks(row), row.source);
}

struct PrintOptions {
  PlanSource source;
  std::string as = "text";
};

std::string text_of(const plan::Plan& plan, const std::string& as) {
  if (as == "json") return plan::to_json(plan);
  return as == "text" ? plan::to_text(plan) : plan::to_msccl_xml(plan);
}

void print_plan(const plan::Plan& plan, const std::string& as) {
  const std::string text = text_of(plan, as);
  fmt::print("{}{}", text, text.ends_with('\n') ? "" : "\n");
}

void show(const PrintOptions& options) {
  const plan::Plan plan = load_plan(options.source);
  const plan::PlanSize size = plan::size_of(plan);
  print_plan(plan, options.as);
  // Keeps what is not for people on the output alone.
  fmt::print(options.as == "text" ? stdout : stderr,
             "{} steps, {} messages per tile, longest lane {} steps, {} slots, {} tiles in flight, "
             "hash {:016x}\n",
             size.steps, size.messages, size.longest_lane, plan.slots, plan.tiles_in_flight,
             plan::hash(plan));
  const verify::Verdict verdict = verify::verify(plan);
  const std::string proof = verdict.accepted ? what_is_proved(plan, verdict) : verdict.reason;
  fmt::print(options.as == "text" ? stdout : stderr, "{}: {}\n",
             verdict.accepted ? "accepted" : "REJECTED", proof);
}

void add_show(cli::Command plan) {
  cli::Command command = plan.add_subcommand("show", "Print a plan, step by step");
  auto options =
      std::make_shared<PrintOptions>();  // shared with the callback, which the parser keeps
  add_plan_source(command, &options->source);
  command
      .add_option("--as", options->as,
                  "text: one line per step; json: a file for `tutti plan verify`")
      .capture_default_str()
      .one_of({"text", "json"});
  command.footer(
      "In the text, `output[1], peer 3 <- reduce(peer 1, input[1])` receives from rank 1, adds "
      "chunk 1 of the input, writes\n"
      "the sum to chunk 1 of the output and sends it to rank 3. `in the switch: sum, copies` says "
      "what switches do of it\n"
      "where they can (NVLS, SHARP).\n\n"
      "Examples:\n"
      "  tutti plan show --collective all_reduce --algorithm ring -n 4\n"
      "  tutti plan show --collective broadcast --algorithm binomial -n 5 --root 2\n"
      "  tutti plan show schedule.xml");
  command.callback([options] { show(*options); });
}

void add_export(cli::Command plan) {
  cli::Command command = plan.add_subcommand("export", "Write a plan in another form");
  auto options =
      std::make_shared<PrintOptions>();  // shared with the callback, which the parser keeps
  add_plan_source(command, &options->source);
  command
      .add_option("--as", options->as,
                  "json: everything that a plan has; msccl-xml: a schedule for MSCCL, where wide "
                  "steps are taken apart; text: for people")
      .required()
      .one_of({"msccl-xml", "json", "text"});
  command.footer(
      "MSCCL has no barrier, gather or scatter.\n\n"
      "Examples:\n"
      "  tutti plan export --collective all_reduce --algorithm two_shot -n 8 --as msccl-xml > "
      "two_shot8.xml\n"
      "  tutti plan export schedule.xml --as json > schedule.json");
  command.callback([options] { print_plan(load_plan(options->source), options->as); });
}

}  // namespace

void add_plan(cli::Command app, int* exit_status) {
  cli::Command plan = app.add_subcommand("plan",
                                         "List, explain, compare, print, verify, run and convert "
                                         "plans: what a collective does, step by "
                                         "step");
  plan.require_subcommand();
  plan.footer(
      "Examples:\n"
      "  tutti plan list\n"
      "  tutti plan show --collective all_reduce --algorithm ring -n 4\n"
      "  tutti plan verify\n"
      "  tutti plan explain --coll all_reduce --bytes 1M -n 4\n"
      "  tutti plan run schedule.xml");
  plan.add_subcommand("list",
                      "Table of collectives, algorithms and the numbers of ranks they support")
      .callback(list);
  add_show(plan);
  add_export(plan);
  add_plan_verify(plan, exit_status);
  add_plan_run(plan, exit_status);
  add_plan_explain(plan, exit_status);
  add_plan_certify(plan, exit_status);
  add_plan_compare(plan, exit_status);
}

}  // namespace tutti::command
