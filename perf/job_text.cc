// SPDX-License-Identifier: Apache-2.0
// Sentences about ranks.
#include "perf/job_text.h"

#include <spdlog/fmt/fmt.h>

#include "perf/signal_gate.h"

namespace tutti::command {

std::string line_prefix(PrefixMode mode, int rank, bool is_stdout) {
  const bool wanted =
      mode == PrefixMode::kAll || (mode == PrefixMode::kOthers && !(rank == 0 && is_stdout));
  return wanted ? fmt::format("[{}] ", rank) : "";
}

std::string others_text(int count, bool all_others) {
  if (count == 1) return all_others ? "the other rank was stopped" : "1 rank was stopped";
  return fmt::format("{}{} ranks were stopped", all_others ? "the other " : "", count);
}

std::string failure_text(const RankFailure& failure, int n_processes) {
  const std::string where = failure.host.empty() ? "" : " on " + failure.host;
  std::string text = n_processes == 1
                         ? fmt::format("the program (pid {}{})", failure.pid, where)
                         : fmt::format("rank {} (pid {}{})", failure.rank, failure.pid, where);
  text += failure.signal != 0 ? " was killed by " + signal_text(failure.signal)
                              : fmt::format(" exited with status {}", failure.status);
  if (failure.passed_on != 0)
    text += fmt::format(" after {} had been passed on", signal_text(failure.passed_on));
  if (failure.others_stopped > 0)
    text += "; " + others_text(failure.others_stopped, failure.others_stopped == n_processes - 1);
  return text;
}

}  // namespace tutti::command
