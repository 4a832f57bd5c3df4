// SPDX-License-Identifier: Apache-2.0
// `tutti plan explain`: which algorithm a call gets, and why.
#include <cstdio>
#include <cstdlib>
#include <fstream>
#include <memory>
#include <optional>
#include <string>

#include <spdlog/fmt/fmt.h>

#include "perf/cli/cli.h"
#include "perf/cmd_plan.h"
#include "perf/explain/explain.h"
#include "perf/explain/on_topology.h"
#include "perf/topology_source.h"
#include "perf/tune/job.h"
#include "src/base/config.h"
#include "src/base/error.h"
#include "src/comm/profile_file.h"

namespace tutti::command {
namespace {

constexpr int kMostRanks = 1024;
constexpr int kMostPlanChannels = 1024;
constexpr int kMostPlanLanes = 4096;
constexpr int kMostMeasuredRanks = 64;
constexpr uint64_t kMostMeasuredBytes = uint64_t{1} << 30;
constexpr Effort kEffort{.rounds = 15, .slice_ns = 2'000'000, .drop_above = 1e9};

struct ExplainOptions {
  std::string collective = "all_reduce";
  uint64_t bytes = 0;
  int ranks = 2;
  std::string hosts;  // empty: all ranks on this one
  bool measure = false;
  bool json = false;
  std::string profile;      // empty: TUTTI_PROFILE
  TopologySource topology;  // from nowhere: this host
  std::string links = "all";
  std::string capacity = "real";
  planner::PlanBudget budget;
  bool no_cache = false;
  std::string plan_file;
  std::string certificate_file;
  std::string svg_file;
};

void check_measurable(const ExplainOptions& options) {
  if (!options.hosts.empty()) {
    throw Error(
        StatusCode::kInvalidArgument,
        "--measure: ranks are started on this host alone; leave --hosts and TUTTI_LAYOUT out");
  }
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

void write_text(const std::string& file, const std::string& text) {
  std::ofstream stream(file, std::ios::binary);
  stream << text;
  stream.close();
  if (!stream) throw Error(StatusCode::kSystemError, "can't write " + file);
}

TopologyExplanation explain_with(const ExplainOptions& options, const std::string& changes,
                                 Progress* progress) {
  TopologySource source = options.topology;
  source.changes = changes;
  TopologyRequest request{.collective = plan::collective_from_name(options.collective),
                          .bytes = options.bytes,
                          .view = {.gpu_links_only = options.links == "gpu",
                                   .unit_capacity = options.capacity == "unit"},
                          .budget = options.budget,
                          .use_cache = !options.no_cache};
  return explain_on(load_topology(source), request, [progress](const std::string& what) {
    progress->step();
    progress->begin(what);
  });
}

int run_explain_on(const ExplainOptions& options) {
  constexpr size_t kUsualSteps = 10;  // bound, candidates, certificate
  const bool what_if = !options.topology.changes.empty();
  std::optional<TopologyExplanation> before;
  std::optional<TopologyExplanation> explanation;
  {
    Progress progress(what_if ? 2 * kUsualSteps : kUsualSteps, options.json);
    if (what_if) before = explain_with(options, "", &progress);
    explanation = explain_with(options, options.topology.changes, &progress);
  }
  const TopologyExplanation* const was = before ? &*before : nullptr;
  fmt::print("{}", options.json ? as_json(*explanation, was) : as_text(*explanation, was));
  if (!options.plan_file.empty())
    write_text(options.plan_file, plan::to_json(plan_of(*explanation)));
  if (!options.certificate_file.empty())
    write_text(options.certificate_file, certificate_of(*explanation));
  if (!options.svg_file.empty()) write_text(options.svg_file, as_svg(*explanation));
  return 0;
}

// The layout, and with it the number of ranks.
planner::Hosts layout_of(ExplainOptions* options) {
  if (options->hosts.empty()) return {};
  const int32_t ranks = planner::ranks_in_layout(options->hosts);
  if (ranks > kMostRanks)
    throw Error(StatusCode::kInvalidArgument,
                fmt::format("--hosts: expected at most {} ranks, got {}", kMostRanks, ranks));
  if (ranks != 0) options->ranks = ranks;
  return planner::Hosts::parse(options->hosts, options->ranks, "--hosts");
}

int run_explain(ExplainOptions options) {
  if (!options.topology.from.empty()) return run_explain_on(options);
  const Config config = config_from_environment();
  if (options.hosts.empty() && planner::ranks_in_layout(config.local.layout) == options.ranks)
    options.hosts = config.local.layout;
  const planner::Hosts hosts = layout_of(&options);
  const auto found =
      comm::find_profile(options.profile.empty() ? config.local.profile : options.profile);
  ExplainRequest request{.collective = plan::collective_from_name(options.collective),
                         .bytes = options.bytes,
                         .n_ranks = options.ranks,
                         .hosts = hosts,
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

void add_topology_options(cli::Command command, ExplainOptions* options) {
  const cli::Option topo =
      command
          .add_option("--topo", options->topology.from,
                      "Plan for the GPUs of a described topology: a file of any format, or a "
                      "synthetic line; see `tutti topo --help`")
          .type_name("FILE|LINE");
  command.add_option("--gpus", options->topology.gpus, "Of its GPUs these alone, by position")
      .type_name("0,1,3")
      .delimiter(',')
      .non_negative()
      .needs(topo);
  command
      .add_option("--links", options->links,
                  "all: every link whose bandwidth is known; gpu: only those between GPUs and "
                  "their own switches")
      .capture_default_str()
      .one_of({"all", "gpu"})
      .needs(topo);
  command
      .add_option("--capacity", options->capacity,
                  "real: the links' bandwidths; unit: every physical link counts 1 GB/s")
      .capture_default_str()
      .one_of({"real", "unit"})
      .needs(topo);
  command
      .add_option("--max-channels", options->budget.channels,
                  "Connections of one rank to another that a plan may use")
      .capture_default_str()
      .range(1, kMostPlanChannels)
      .needs(topo);
  command.add_option("--max-lanes", options->budget.lanes, "Lanes of a rank that a plan may use")
      .capture_default_str()
      .range(1, kMostPlanLanes)
      .needs(topo);
  command.add_flag("--no-cache", options->no_cache,
                   "Plan anew, and keep nothing; else plans are kept by the topology's hash in "
                   "$XDG_CACHE_HOME/tutti or ~/.cache/tutti");
  command
      .add_option("--what-if", options->topology.changes,
                  "Plan again with changes, and show the loss; see `tutti topo --help`")
      .type_name("CHANGES")
      .needs(topo);
  command
      .add_option("--plan", options->plan_file,
                  "Write the chosen plan, for `tutti plan run` and TUTTI_PLAN_FILE")
      .type_name("FILE")
      .needs(topo);
  command
      .add_option("--svg", options->svg_file,
                  "Draw the chosen plan on the topology: loads, bottlenecks, the bound's nodes")
      .type_name("FILE")
      .needs(topo);
  command
      .add_option("--certificate", options->certificate_file,
                  "Write the proof, for `tutti plan certify`")
      .type_name("FILE")
      .needs(topo);
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
  command
      .add_option("--hosts,--layout", options->hosts,
                  "Ranks on several hosts: hosts x ranks, or the host of each rank; instead of -n")
      .type_name("3x2|0,0,1");
  command.add_flag("--measure", options->measure,
                   "Start the ranks and time every candidate, in turn");
  command.add_flag("--json", options->json, "Print JSON instead of text");
  command
      .add_option("--profile", options->profile,
                  "What `tutti tune` has written, or none (default: TUTTI_PROFILE)")
      .type_name("FILE");
  add_topology_options(command, options.get());
  command.footer(R"(
predicted   what the planner goes by: its model's time, corrected by this machine's profile
messages    that the busiest rank sends in one call; bytes sent: in them
touched     bytes that it reads and writes, in buffers and in slots
protocol    how its largest messages go: inline, in the line that announces them; staged, through a slot; mapped, by
            reference where the receiver maps the memory, which is tuttiMemAlloc's
of least    bytes that cross between hosts, over the least that any algorithm must send

Variables as for any call apply: TUTTI_ALGO, TUTTI_SLOT_BYTES, TUTTI_PROTO ...

Examples:
  tutti plan explain --coll all_reduce --bytes 1M -n 4
  tutti plan explain --coll broadcast --bytes 64K -n 8 --measure
  tutti plan explain --bytes 8 --profile none --json
  tutti plan explain --bytes 64M --hosts 3x2
  tutti plan explain --topo "dgx-h100 x2" --coll allreduce --bytes 1G
  tutti plan explain --topo machine.xml --gpus 0,1,3 --bytes 64M --what-if "down nic3")");
  command.callback([options, exit_status] { *exit_status = run_explain(*options); });
}

}  // namespace tutti::command
