// SPDX-License-Identifier: Apache-2.0
// Reads plans from files, or has the planner make them.
#include "perf/plan_source.h"

#include <algorithm>
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

constexpr int32_t kMostRanks = 1024;

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
        fmt::format("{} {} does not support {} ranks with root {}{}; of 1-{} ranks it supports {}",
                    options.collective, row->name, options.request.n_ranks, options.request.root,
                    row->layered ? " on " + options.request.hosts.text() : "", kMostListedRanks,
                    supported_ranks(*row)));
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

std::vector<PlanRequest> listed_requests(const AlgorithmRow& row, int32_t most_channels) {
  std::vector<PlanRequest> all;
  const auto add = [&](int32_t n, const planner::Hosts& hosts) {
    for (int32_t root = 0; root < (plan::has_root(row.collective) ? n : 1); ++root)
      for (int32_t channels = 1; channels <= most_channels; ++channels)
        all.push_back({row.collective, n, root, channels, hosts});
  };
  for (int32_t n = 1; !row.layered && n <= kMostListedRanks; ++n) add(n, {});
  for (int32_t hosts = 2; row.layered && hosts <= kMostListedRanks / 2; ++hosts)
    for (int32_t local = 2; hosts * local <= kMostListedRanks; ++local)
      add(hosts * local, planner::Hosts::parse(fmt::format("{}x{}", hosts, local), hosts * local,
                                               "a listed layout"));
  for (const char* text : {"0,1,0,1", "0,0,0,1,2,2", "0,1,2,0,1,2", "0,1,1,0,2,0,1"}) {
    const int32_t n = planner::ranks_in_layout(text);
    if (row.layered) add(n, planner::Hosts::parse(text, n, "a listed layout"));
  }
  std::erase_if(all, [&](const PlanRequest& request) { return !row.supports(request); });
  return all;
}

std::string supported_ranks(const AlgorithmRow& row) {
  const auto supports = [&](int32_t n) {
    const int32_t ranks = row.layered ? 2 * n : n;
    if (ranks > kMostListedRanks || (row.layered && n < 2)) return false;
    PlanRequest request{row.collective, ranks, 0, 1};
    if (row.layered)
      request.hosts = planner::Hosts::parse(fmt::format("{}x2", n), ranks, "a listed layout");
    return row.supports(request);
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
  return row.layered ? text + " hosts" : text;
}

std::string plan_title(const std::string& path, const plan::Plan& plan) {
  return fmt::format("{}: {} {}, {} ranks", path, plan::name(plan.shape.collective), plan.algorithm,
                     plan.shape.n_ranks);
}

std::string what_is_proved(const plan::Plan& plan, const verify::Verdict& verdict) {
  std::string text = fmt::format("needs {} of its {} slots", verdict.min_slots, plan.slots);
  if (plan::reduces(plan.shape.collective))
    text += fmt::format(", folds in {}", verify::name(verdict.fold_order));
  const auto sums = std::ranges::count(plan.switch_channels, plan::SwitchChannel::Kind::kReduce,
                                       &plan::SwitchChannel::kind);
  const auto all = static_cast<std::ptrdiff_t>(plan.switch_channels.size());
  if (all > 0)
    text += fmt::format(", where switches serve it: {} sums, {} multicasts", sums, all - sums);
  return text;
}

plan::Plan load_plan_file(const std::string& path) { return plan::from_text(read_all(path), path); }

plan::Plan load_plan(PlanSource source) {
  check_source(source);
  if (!source.file.empty()) return load_plan_file(source.file);
  source.request.collective = plan::collective_from_name(source.collective);
  if (!source.hosts.empty()) {
    if (const int32_t n = planner::ranks_in_layout(source.hosts); n > 0 && n <= kMostRanks)
      source.request.n_ranks = n;
    source.request.hosts =
        planner::Hosts::parse(source.hosts, source.request.n_ranks, "--hosts").for_plans();
  }
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
  command.add_option("-n,--ranks", source->request.n_ranks, "Number of ranks").range(1, kMostRanks);
  command
      .add_option("--hosts,--layout", source->hosts,
                  "Ranks on several hosts: hosts x ranks, or the host of each rank; instead of -n")
      .type_name("3x2|0,0,1");
  command.add_option("--root", source->request.root, "Root, for collectives that have one")
      .non_negative();
  command.add_option("--channels", source->request.channels, "Parallel rings or trees")
      .capture_default_str()
      .range(1, 64);
}

}  // namespace tutti::command
