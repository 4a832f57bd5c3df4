// SPDX-License-Identifier: Apache-2.0
// `tutti topo`: shows this machine, a recorded one or a synthetic one.
#include <cstdio>
#include <fstream>
#include <iostream>
#include <iterator>
#include <memory>
#include <string>
#include <vector>

#include "perf/cli/cli.h"
#include "perf/command.h"
#include "src/base/error.h"
#include "topology/change.h"
#include "topology/detectors/hwloc_detector.h"
#include "topology/formats/any.h"
#include "topology/formats/native_json.h"
#include "topology/formats/nccl_xml.h"
#include "topology/formats/tree_text.h"
#include "topology/synthetic.h"

namespace tutti::command {
namespace {

struct TopoOptions {
  std::string from;
  std::string synthetic;
  std::string as = "tree";
  std::vector<int> gpus;
  std::string change;
};

std::string read_all(const std::string& file) {
  std::ifstream stream;
  if (file != "-") {
    stream.open(file, std::ios::binary);
    if (!stream) throw Error(StatusCode::kInvalidArgument, "can't open " + file + " for reading");
  }
  std::istream& in = file == "-" ? std::cin : stream;
  std::string text(std::istreambuf_iterator<char>(in), {});
  if (in.bad()) throw Error(StatusCode::kSystemError, "can't read " + file);
  return text;
}

topology::Report load(const TopoOptions& options) {
  if (!options.from.empty())
    return topology::read_topology(read_all(options.from),
                                   options.from == "-" ? "standard input" : options.from);
  if (!options.synthetic.empty()) return {topology::synthetic(options.synthetic), {}};
  return topology::detect_hwloc();
}

std::string rendered(const topology::Report& report, const std::string& as) {
  if (as == "json") return topology::write_native_json(report);
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
      topo.add_option("--from", options->from,
                      "Read FILE (- is standard input): " + topology::topology_format_names())
          .type_name("FILE")
          .check(check_not_empty);
  topo.add_option("--synthetic", options->synthetic, "Make a machine from one line")
      .type_name("LINE")
      .check(check_not_empty)
      .excludes(from);
  topo.add_option("--as", options->as,
                  "Output: a tree to read, JSON to edit and pass to --from, or NCCL XML for "
                  "NCCL_TOPO_FILE")
      .one_of({"tree", "json", "nccl-xml"})
      .capture_default_str();
  topo.add_option("--gpus", options->gpus, "Keep these GPUs only, counted from 0: 0,1,3")
      .delimiter(',')
      .type_name("LIST");
  topo.add_option("--change", options->change, "What if: see below, separated by commas")
      .type_name("CHANGES")
      .check(check_not_empty);
  topo.footer("\nSynthetic lines: " + topology::synthetic_help() + "\nChanges, after --gpus:\n" +
              topology::change_help() + R"(
Examples:
  tutti topo
  tutti topo --as json > machine.json
  tutti topo --from machine.json
  tutti topo --from nccl-topo.xml            (what NCCL_TOPO_DUMP_FILE wrote)
  tutti topo --synthetic "dgx-a100 x2 fabric=rail" --change "down box0/nic3")");
  topo.callback([options, exit_status] {
    topology::Report report = load(*options);
    if (!options->gpus.empty()) report.graph = topology::only_gpus(report.graph, options->gpus);
    if (!options->change.empty()) report.graph = topology::changed(report.graph, options->change);
    const std::string text = rendered(report, options->as);
    const bool written = std::fputs(text.c_str(), stdout) >= 0 && std::fflush(stdout) == 0;
    if (!written) throw Error(StatusCode::kSystemError, "can't write to standard output");
    *exit_status = 0;
  });
}

}  // namespace tutti::command
