// SPDX-License-Identifier: Apache-2.0
// `tutti plan compare`: two plans on one topology.
#include <cstdio>
#include <memory>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include <spdlog/fmt/fmt.h>

#include "perf/cli/cli.h"
#include "perf/cmd_plan.h"
#include "perf/explain/comparison.h"
#include "perf/topology_source.h"
#include "perf/tune/progress.h"
#include "src/base/error.h"

namespace tutti::command {
namespace {

struct CompareOptions {
  std::string a;
  std::string b;
  TopologySource topology;
  std::string collective;
  uint64_t bytes = 0;  // 0: several
  bool json = false;
};

std::vector<uint64_t> sizes(const CompareOptions& options) {
  constexpr uint64_t kLeast = uint64_t{8} << 10;
  constexpr uint64_t kMost = uint64_t{1} << 30;
  constexpr uint64_t kFactor = 8;
  if (options.bytes != 0) return {options.bytes};
  std::vector<uint64_t> all;
  for (uint64_t bytes = kLeast; bytes < kMost; bytes *= kFactor) all.push_back(bytes);
  all.push_back(kMost);
  return all;
}

// As asked for, else what a file has, else AllReduce.
plan::Collective collective_of(const CompareOptions& options, const std::vector<Source>& sources) {
  if (!options.collective.empty()) return plan::collective_from_name(options.collective);
  for (const Source& source : sources)
    if (source.collective) return *source.collective;
  return plan::Collective::kAllReduce;
}

int run_compare(const CompareOptions& options) {
  if (options.a == "-" && options.b == "-")
    throw Error(StatusCode::kInvalidArgument, "expected one plan from the standard input, got two");
  std::vector<Source> sources;
  sources.push_back(open_source(options.a));
  sources.push_back(open_source(options.b));
  const plan::Collective collective = collective_of(options, sources);
  const std::vector<uint64_t> all = sizes(options);
  std::optional<Comparison> comparison;
  {
    Progress progress(2 * all.size() + 5, options.json);  // candidates, verdicts, bound
    const auto step = [&progress](const std::string& what) {
      progress.step();
      progress.begin(what);
    };
    step("plans");
    Arena arena = arena_of(load_topology(options.topology));
    std::vector<Contender> both = contenders(arena, std::move(sources), collective);
    comparison = compare(std::move(arena), std::move(both), collective, all, step);
  }
  fmt::print("{}", options.json ? as_json(*comparison) : as_text(*comparison));
  return is_accepted(*comparison) ? 0 : 1;
}

}  // namespace

void add_plan_compare(cli::Command plan, int* exit_status) {
  auto options =
      std::make_shared<CompareOptions>();  // shared with the callback, which the parser keeps
  cli::Command command = plan.add_subcommand(
      "compare", "Two plans on a described topology: what each is, and which wins at which size");
  const char* const what =
      "A plan (JSON, MSCCL XML, MSCCL++ JSON), a certificate, NCCL's graph XML, or a candidate of "
      "`tutti plan explain --topo` by name";
  command.add_option("A", options->a, what).required().type_name("PLAN");
  command.add_option("B", options->b, "The other one").required().type_name("PLAN");
  const cli::Option topo =
      command
          .add_option("--topo", options->topology.from,
                      "Where they run: a file of any format, or a synthetic line; see `tutti topo "
                      "--help`")
          .required()
          .type_name("FILE|LINE");
  command.add_option("--gpus", options->topology.gpus, "Of its GPUs these alone, by position")
      .type_name("0,1,3")
      .delimiter(',')
      .non_negative()
      .needs(topo);
  command
      .add_option("--bytes", options->bytes,
                  "Bytes of one block, as the C API takes them; suffixes K, M, G (default: 8K to "
                  "1G by 8)")
      .size_suffix();
  command.add_option("--coll,--collective", options->collective,
                     "What both do (default: what a file does, else all_reduce)");
  command.add_flag("--json", options->json, "Print JSON instead of text");
  command.footer(R"(
Rank r is on the r-th GPU of the topology. Plans take the shortest ways between GPUs; those of a certificate for this
topology, of NCCL's graphs and of candidates have ways of their own. NCCL's graph XML (NCCL_GRAPH_DUMP_FILE) stands for
its rings, FILE:tree for its trees. Exit status 1: the verifier rejects one.

link limit    algbw that the busiest link allows
plan / bound  that limit by what no plan can beat, for all_reduce, all_gather and reduce_scatter
time          simulated, as by `tutti plan explain --topo`

Examples:
  tutti plan compare ring forest --topo "dgx-a100 x2"
  tutti plan compare schedule.xml two_shot --topo dgx-a100 --bytes 1M
  tutti plan compare nccl-graph.xml nccl-graph.xml:tree --topo nccl-topo.xml
  tutti plan compare proof.json plan.json --topo machine.json --json)");
  command.callback([options, exit_status] { *exit_status = run_compare(*options); });
}

}  // namespace tutti::command
