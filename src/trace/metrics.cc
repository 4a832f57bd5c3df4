// SPDX-License-Identifier: Apache-2.0
// The list of this process's recorders and the writer of their file.
#include "src/trace/metrics.h"

#include <unistd.h>

#include <cerrno>
#include <cstdio>
#include <fstream>
#include <vector>

#include "src/base/error.h"
#include "src/base/file.h"
#include "src/base/log.h"
#include "src/base/process_local.h"
#include "src/trace/prometheus.h"
#include "src/trace/recorder.h"

namespace tutti::trace {
namespace {

constexpr size_t kMostEnded = 256;

// Under its lock nothing is waited for but a small file.
struct Listed {
  std::vector<const Recorder*> open;
  std::vector<Counters> ended;  // the last ones; only of recorders that have a file
};

std::vector<Counters> collect(const Listed& listed) {
  std::vector<Counters> all = listed.ended;
  for (const Recorder* recorder : listed.open) all.push_back(recorder->counters());
  return all;
}

void replace_file(const std::string& path, const std::string& text) {
  const std::string draft = path + ".tmp" + std::to_string(::getpid());
  std::ofstream out(draft, std::ios::binary);
  out << text;
  out.close();
  if (!out || std::rename(draft.c_str(), path.c_str()) != 0) {
    const Error why = system_error("can't write " + path, errno);
    std::remove(draft.c_str());
    throw Error(StatusCode::kSystemError,
                std::string(why.what()) +
                    "; TUTTI_METRICS_FILE must name a file in a folder that this process may "
                    "write to");
  }
}

void write(const Listed& listed, const Recorder& recorder) {
  const std::string& pattern = recorder.metrics_file();
  const int rank = recorder.rank();
  std::vector<Counters> all = collect(listed);
  if (pattern.find("%r") != std::string::npos)
    std::erase_if(all, [&](const Counters& c) { return c.rank != rank; });
  replace_file(expand_path(pattern, rank), prometheus_text(all));
}

}  // namespace

void list_recorder(const Recorder& recorder) {
  ProcessLocal<Listed>::with([&](Listed& listed) { listed.open.push_back(&recorder); });
}

void unlist_recorder(const Recorder& recorder) noexcept {
  ProcessLocal<Listed>::with([&](Listed& listed) {
    if (std::erase(listed.open, &recorder) == 0 || recorder.metrics_file().empty()) return;
    try {
      if (listed.ended.size() == kMostEnded) listed.ended.erase(listed.ended.begin());
      listed.ended.push_back(recorder.counters());
    } catch (const std::exception&) {
      return;  // no memory left: later files lack it
    }
  });
}

std::string metrics_text() {
  return prometheus_text(ProcessLocal<Listed>::with([](Listed& listed) {
    std::vector<Counters> all;
    for (const Recorder* recorder : listed.open) all.push_back(recorder->counters());
    return all;
  }));
}

void write_metrics_file(const Recorder& recorder) noexcept {
  // The log has a lock of its own, so it comes afterwards.
  try {
    ProcessLocal<Listed>::with([&](Listed& listed) { write(listed, recorder); });
  } catch (const std::exception& e) {
    log(LogLevel::kWarn, "metrics", recorder.rank(), "{}", e.what());
  }
}

}  // namespace tutti::trace
