// SPDX-License-Identifier: Apache-2.0
// `tutti topo`: shows this machine, a recorded one or a synthetic one.
#include <cstdio>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "perf/cli/cli.h"
#include "perf/command.h"
#include "perf/meeting.h"
#include "perf/topo/paths.h"
#include "perf/topo/rails.h"
#include "perf/topology_source.h"
#include "src/base/error.h"
#include "topology/change.h"
#include "topology/detectors/ib_fabric.h"
#include "topology/detectors/machine.h"
#include "topology/formats/any.h"
#include "topology/formats/native_json.h"
#include "topology/formats/nccl_xml.h"
#include "topology/formats/svg.h"
#include "topology/formats/tree_text.h"
#include "topology/merge.h"
#include "topology/synthetic.h"

namespace tutti::command {
namespace {

struct TopoOptions {
  TopologySource source;
  std::string synthetic;
  std::string as = "tree";
  bool fabric = false;
};

// What is shown; `networks` follows a tree.
struct Shown {
  topology::Report report;
  std::string networks = {};
};

// Of all machines that the ranks of a job are on, for its rank 0 to show; nothing for the others.
std::optional<Shown> machines_of(const bootstrap::Launch& launch, const std::string& as) {
  const auto meeting = meet(launch);
  const std::string mine = topology::write_native_json(topology::detect_machine());
  const std::vector<std::string> texts = all_texts(*meeting, mine);
  std::optional<std::vector<RankPaths>> paths;
  if (as == "tree") paths = paths_of(launch, *meeting);
  if (launch.rank != 0) return std::nullopt;
  std::vector<topology::Report> reports;
  reports.reserve(texts.size());
  for (const std::string& text : texts)
    reports.push_back(topology::read_native_json(text, "rank " + std::to_string(reports.size())));
  return Shown{topology::merge_hosts(reports), paths ? paths_text(*paths) : ""};
}

// This machine's, or under a launcher those of the job.
std::optional<Shown> detected(const TopoOptions& options) {
  const auto launch = job_of_many();
  if (launch && options.fabric)
    throw Error(StatusCode::kInvalidUsage,
                "--fabric: one host sees the whole fabric; run it there without a launcher");
  if (launch) return machines_of(*launch, options.as);
  const topology::Report machine = topology::detect_machine();
  return Shown{options.fabric ? topology::add_ib_fabric(machine) : machine,
               options.as == "tree" ? rails_text("this machine", rails_here()) : ""};
}

std::optional<Shown> load(const TopoOptions& options) {
  if (!options.synthetic.empty())
    return Shown{with_changes({topology::synthetic(options.synthetic), {}}, options.source)};
  if (!options.source.from.empty()) return Shown{load_topology(options.source)};
  std::optional<Shown> found = detected(options);
  if (found) found->report = with_changes(std::move(found->report), options.source);
  return found;
}

std::string rendered(const topology::Report& report, const std::string& as) {
  if (as == "json") return topology::write_native_json(report);
  if (as == "svg") return topology::svg(report);
  if (as == "nccl-xml") return topology::write_nccl_xml(report);
  return topology::tree_text(report);
}

// Most likely a script's variable that is not set, and no wish to see this machine.
std::string check_not_empty(const std::string& value) {
  return value.empty() ? "expected a value, got an empty text" : "";
}

}  // namespace

void add_topo(cli::Command app, int* exit_status) {
  auto options = std::make_shared<TopoOptions>();
  cli::Command topo =
      app.add_subcommand("topo", "Show this machine's topology, or a described one");
  const cli::Option from =
      topo.add_option("--from", options->source.from,
                      "Read FILE (- is standard input): " + topology::topology_format_names() +
                          "; or make a machine from a line, as --synthetic does")
          .type_name("FILE|LINE")
          .check(check_not_empty);
  const cli::Option line =
      topo.add_option("--synthetic", options->synthetic, "Make a machine from one line")
          .type_name("LINE")
          .check(check_not_empty)
          .excludes(from);
  topo.add_flag("--fabric", options->fabric,
                "Explore the InfiniBand fabric that this machine is on too (may need root)")
      .excludes(from)
      .excludes(line);
  topo.add_option("--as", options->as,
                  "Output: a tree to read, JSON to edit and pass to --from, NCCL XML for "
                  "NCCL_TOPO_FILE, or a picture")
      .one_of({"tree", "json", "nccl-xml", "svg"})
      .capture_default_str();
  topo.add_option("--gpus", options->source.gpus, "Keep these GPUs only, counted from 0: 0,1,3")
      .delimiter(',')
      .type_name("LIST");
  topo.add_option("--change", options->source.changes, "What if: see below, separated by commas")
      .type_name("CHANGES")
      .check(check_not_empty);
  topo.footer("\nSynthetic lines: " + topology::synthetic_help() + "\nChanges, after --gpus:\n" +
              topology::change_help() + R"(
Examples:
  tutti topo
  tutti topo --as json > machine.json
  tutti topo --from machine.json
  ibnetdiscover | tutti topo --from -
  tutti topo --as svg > machine.svg          (for a browser)
  tutti run -n 4 tutti topo --as json        (under any launcher: the hosts of all ranks)
  tutti run --hosts a:2,b:2 tutti topo       (and which path each pair of ranks takes)
  tutti topo --from nccl-topo.xml            (what NCCL_TOPO_DUMP_FILE wrote)
  tutti topo --synthetic "dgx-a100 x2 fabric=rail" --change "down box0/nic3")");
  topo.callback([options, exit_status] {
    *exit_status = 0;
    const std::optional<Shown> shown = load(*options);
    if (!shown) return;  // rank 0 shows it
    const std::string text = rendered(shown->report, options->as) + shown->networks;
    const bool written = std::fputs(text.c_str(), stdout) >= 0 && std::fflush(stdout) == 0;
    if (!written) throw Error(StatusCode::kSystemError, "can't write to standard output");
  });
}

}  // namespace tutti::command
