// SPDX-License-Identifier: Apache-2.0
// Reads and changes the topologies that commands are given.
#include "perf/topology_source.h"

#include <filesystem>
#include <fstream>
#include <iostream>
#include <iterator>

#include <spdlog/fmt/fmt.h>

#include "src/base/error.h"
#include "topology/change.h"
#include "topology/formats/any.h"
#include "topology/synthetic.h"

namespace tutti::command {
namespace {

topology::Report read_or_make(const std::string& from) {
  if (from == "-") return topology::read_topology(read_text(from), "standard input");
  std::error_code none;
  // What looks like a path is one, so that a file that is missing is told as such.
  if (std::filesystem::exists(from, none) || from.find('/') != std::string::npos)
    return topology::read_topology(read_text(from), from);
  try {
    return {topology::synthetic(from), {}};
  } catch (const Error& error) {
    throw Error(error.code(), fmt::format("\"{}\" is no file, and as a machine in one line: {}",
                                          from, error.what()));
  }
}

}  // namespace

std::string read_text(const std::string& file) {
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

topology::Report load_topology(const TopologySource& source) {
  return with_changes(read_or_make(source.from), source);
}

topology::Report with_changes(topology::Report report, const TopologySource& source) {
  if (!source.gpus.empty()) report.graph = topology::only_gpus(report.graph, source.gpus);
  if (!source.changes.empty()) report.graph = topology::changed(report.graph, source.changes);
  return report;
}

}  // namespace tutti::command
