// SPDX-License-Identifier: Apache-2.0
// Reads recordings of processes or of a folder and picks those asked for.
#include "perf/jobs.h"

#include <unistd.h>

#include <algorithm>
#include <set>
#include <string_view>

#include <spdlog/fmt/fmt.h>

#include "perf/cli/cli.h"
#include "src/base/config.h"
#include "src/base/error.h"

namespace tutti::command {
namespace {

std::vector<trace::Recording> read_all(Found* found) {
  int hidden = 0;
  auto all = trace::read_processes(&found->warnings, &hidden);
  if (hidden != 0 && all.empty()) {
    found->warnings.push_back(fmt::format(
        "{} processes of other users can't be looked into; ask as that user or as root", hidden));
  }
  return all;
}

std::vector<trace::Recording> read_one(int pid, bool again, Found* found) {
  try {
    auto some = trace::read_process(pid, &found->warnings);
    if (some.empty())
      found->warnings.push_back(fmt::format("process {} has no communicator open", pid));
    return some;
  } catch (const Error& e) {
    if (!again) throw;
    found->warnings.emplace_back(e.what());
    return {};
  }
}

std::vector<trace::Recording> read(const JobOptions& options, bool again, Found* found) {
  if (!options.folder.empty()) return trace::read_folder(options.folder, &found->warnings);
  if (options.pids.empty()) return read_all(found);
  std::vector<trace::Recording> all;
  for (const int pid : options.pids)
    std::ranges::move(read_one(pid, again, found), std::back_inserter(all));
  return all;
}

void keep_job(const std::string& job, bool again, std::vector<trace::Recording>& all) {
  std::set<std::string> names;
  for (const trace::Recording& r : all) names.insert(r.job);
  if (names.count(job) == 0 && !all.empty() && !again) {
    const std::vector<std::string_view> known(names.begin(), names.end());
    throw Error(StatusCode::kInvalidArgument,
                "there is no job '" + job + "' (TUTTI_JOB); known: " + known_names(job, known));
  }
  std::erase_if(all, [&](const trace::Recording& r) { return r.job != job; });
}

}  // namespace

void add_job_options(cli::Command command, JobOptions* options) {
  command.add_option("PID", options->pids, "Only these processes; else all of this user")
      .positive();
  command.add_option("--job", options->job, "Only the job of this name (TUTTI_JOB)");
  command
      .add_option("--dir", options->folder, "Read the recordings in this folder (TUTTI_TRACE_DIR)")
      .type_name("DIR");
}

Found read_jobs(const JobOptions& options, bool again) {
  if (!options.folder.empty() && !options.pids.empty())
    throw Error(StatusCode::kInvalidArgument, "give process ids or --dir, not both");
  Found found;
  found.recordings = read(options, again, &found);
  if (!options.job.empty()) keep_job(options.job, again, found.recordings);
  return found;
}

std::string nothing_found(const JobOptions& options, const Found& found) {
  std::string text = options.folder.empty()
                         ? fmt::format("no running job of user {} on this host", ::geteuid())
                         : options.folder + " holds no recordings";
  for (const std::string& warning : found.warnings) text += "; " + warning;
  return text;
}

}  // namespace tutti::command
