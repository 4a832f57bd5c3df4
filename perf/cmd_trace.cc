// SPDX-License-Identifier: Apache-2.0
// `tutti trace`: says what a job's flight recordings tell, and draws them.
#include <unistd.h>

#include <algorithm>
#include <cstdio>
#include <fstream>
#include <memory>
#include <string>

#include <nlohmann/json.hpp>
#include <spdlog/fmt/fmt.h>

#include "perf/cli/cli.h"
#include "perf/command.h"
#include "src/base/error.h"
#include "src/trace/analysis.h"
#include "src/trace/chrome.h"

namespace tutti::command {
namespace {

constexpr int kProblemStatus = 3;

struct TraceOptions {
  std::string folder;
  std::string out;
  bool json = false;
};

bool is_problem(const trace::Finding& finding) {
  return finding.verdict >= trace::Verdict::kFailed;
}

void write_trace(const trace::Timeline& timeline, const std::string& file) {
  std::ofstream out(file, std::ios::binary);
  out << trace::chrome_trace(timeline) << "\n";
  out.close();
  if (!out) throw Error(StatusCode::kSystemError, "can't write " + file);
}

nlohmann::json as_json(const trace::CommFindings& comm) {
  nlohmann::json findings = nlohmann::json::array();
  for (const trace::Finding& f : comm.findings) {
    findings.push_back({{"verdict", trace::name(f.verdict)},
                        {"number", f.number},
                        {"ranks", f.ranks},
                        {"text", f.text}});
  }
  return {{"comm", comm.comm->name},
          {"comm_id", fmt::format("{:x}", comm.comm->comm_id)},
          {"n_ranks", comm.comm->n_ranks},
          {"findings", findings}};
}

void print_findings(const std::vector<trace::CommFindings>& all, bool json) {
  if (!json) {
    for (const trace::CommFindings& comm : all) fmt::print("{}", comm.text());
    return;
  }
  nlohmann::json comms = nlohmann::json::array();
  for (const trace::CommFindings& comm : all) comms.push_back(as_json(comm));
  const nlohmann::json whole = {{"communicators", comms}};
  fmt::print("{}\n", whole.dump(2, ' ', false, nlohmann::json::error_handler_t::replace));
}

int run_trace(const TraceOptions& options) {
  std::vector<std::string> warnings;
  const std::vector<trace::Recording> recordings = trace::read_folder(options.folder, &warnings);
  for (const std::string& warning : warnings) fmt::print(stderr, "tutti trace: {}\n", warning);
  if (recordings.empty()) {
    throw Error(
        StatusCode::kInvalidArgument,
        options.folder + " holds no recordings; run the job with TUTTI_TRACE_DIR set to a folder");
  }
  const trace::Timeline timeline(recordings);
  auto all = trace::analyse(timeline, trace::fate_of_process);
  // The worst first: what hangs hides below what is healthy else.
  std::ranges::stable_sort(all, std::ranges::greater{}, [](const trace::CommFindings& c) {
    return std::ranges::max(c.findings, {}, &trace::Finding::verdict).verdict;
  });
  print_findings(all, options.json);
  if (!options.out.empty()) write_trace(timeline, options.out);
  const bool problem = std::ranges::any_of(
      all, [](const auto& comm) { return std::ranges::any_of(comm.findings, is_problem); });
  return problem ? kProblemStatus : 0;
}

}  // namespace

void add_trace(cli::Command app, int* exit_status) {
  auto options = std::make_shared<TraceOptions>();
  cli::Command trace =
      app.add_subcommand("trace", "Tell from flight recordings why a job hangs, fails or is slow");
  trace.add_option("DIR", options->folder, "Folder with the recordings of all ranks").required();
  trace.add_option("--out", options->out, "Write a trace for Perfetto or chrome://tracing")
      .type_name("FILE");
  trace.add_flag("--json", options->json, "Print the findings as JSON");
  trace.footer(R"(
A job leaves recordings when TUTTI_TRACE_DIR names a folder: one file per rank and communicator, which also survives
kill -9. Copy the folders of all hosts into one. Running jobs can be looked at, too; `tutti top` does so without files.
Exit status: 3 when something hangs, has failed or disagrees, else 0.

Example:
  TUTTI_TRACE_DIR=/tmp/rings tutti run -n 4 ./my_program
  tutti trace /tmp/rings --out trace.json)");
  trace.callback([options, exit_status] { *exit_status = run_trace(*options); });
}

}  // namespace tutti::command
