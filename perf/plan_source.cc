// SPDX-License-Identifier: Apache-2.0
// Reads plans from files, or has the planner make them.
#include "perf/plan_source.h"

#include <fstream>
#include <iostream>
#include <sstream>

#include <spdlog/fmt/fmt.h>

#include "perf/cli/cli.h"
#include "src/base/error.h"
#include "src/plan/msccl_xml.h"

namespace tutti::command {
namespace {

using planner::AlgorithmRow;
using planner::PlanRequest;

std::string read_all(const std::string& path) {
  std::ostringstream text;
  if (path == "-") {
    text << std::cin.rdbuf();
    return text.str();
  }
  std::ifstream file(path);
  if (file) text << file.rdbuf();
  if (!file)
    throw Error(
        StatusCode::kInvalidArgument,
        fmt::format("can't read the plan {}: give a file made by `tutti plan export`, an MSCCL "
                    "schedule, an MSCCL++ plan, or - for the standard input",
                    path));
  return text.str();
}

const AlgorithmRow& row_for(const PlanSource& options) {
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
                    kMostListedRanks, supported_ranks(*row)));
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

void check_source(const PlanSource& source) {
  if (source.file.empty()) {
    for (const auto& [option, text] : {std::pair{"--collective", &source.collective},
                                       std::pair{"--algorithm", &source.algorithm}})
      if (text->empty())
        throw Error(StatusCode::kInvalidArgument,
                    fmt::format("expected a FILE, or --collective, --algorithm and -n; {} is "
                                "missing",
                                option));
  } else if (!source.collective.empty() || !source.algorithm.empty()) {
    throw Error(StatusCode::kInvalidArgument,
                "expected a FILE or --collective and --algorithm, got both");
  }
}

}  // namespace

// "1-16", "2, 4, 8, 16"
std::string supported_ranks(const AlgorithmRow& row) {
  auto supports = [&](int32_t n) {
    return n <= kMostListedRanks && row.supports({row.collective, n, 0, 1});
  };
  std::string text;
  for (int32_t n = 1; n <= kMostListedRanks; ++n) {
    if (!supports(n)) continue;
    int32_t last = n;
    while (supports(last + 1)) ++last;
    text += text.empty() ? "" : ", ";
    text += last == n ? fmt::format("{}", n) : fmt::format("{}-{}", n, last);
    n = last;
  }
  return text;
}

std::string plan_title(const std::string& path, const plan::Plan& plan) {
  return fmt::format("{}: {} {}, {} ranks", path, plan::name(plan.shape.collective), plan.algorithm,
                     plan.shape.n_ranks);
}

std::string what_is_proved(const plan::Plan& plan, const verify::Verdict& verdict) {
  std::string text = fmt::format("needs {} of its {} slots", verdict.min_slots, plan.slots);
  if (plan::reduces(plan.shape.collective))
    text += fmt::format(", folds in {}", verify::name(verdict.fold_order));
  return text;
}

plan::Plan load_plan_file(const std::string& path) { return plan::from_text(read_all(path), path); }

plan::Plan load_plan(PlanSource source) {
  check_source(source);
  if (!source.file.empty()) return load_plan_file(source.file);
  source.request.collective = plan::collective_from_name(source.collective);
  check_request(source.request);
  return row_for(source).build(source.request);
}

void add_plan_source(cli::Command command, PlanSource* source) {
  command.add_option(
      "FILE", source->file,
      "A plan: JSON, an MSCCL schedule or an MSCCL++ plan, - for the standard input");
  command.add_option("--collective", source->collective,
                     "What the plan does, e.g. all_reduce (see `tutti plan list`)");
  command.add_option("--algorithm", source->algorithm, "How, e.g. ring (see `tutti plan list`)");
  command.add_option("-n,--ranks", source->request.n_ranks, "Number of ranks").range(1, 1024);
  command.add_option("--root", source->request.root, "Root, for collectives that have one")
      .non_negative();
  command.add_option("--channels", source->request.channels, "Parallel rings or trees")
      .capture_default_str()
      .range(1, 64);
}

}  // namespace tutti::command
