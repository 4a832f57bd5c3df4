// SPDX-License-Identifier: Apache-2.0
// Ranks of a command meet as those of a communicator do.
#include "perf/meeting.h"

#include <span>

#include "perf/doctor/rank_report.h"

namespace tutti::command {
namespace {

Deadline init_deadline() {
  const int64_t limit_ns = config_or_default().local.init_timeout_ns;
  return limit_ns > 0 ? Deadline::after_ns(limit_ns) : Deadline::never();
}

}  // namespace

std::optional<bootstrap::Launch> job_of_many() {
  auto launch = bootstrap::detect_launch();
  return launch.has_value() && launch->size > 1 ? launch : std::nullopt;
}

std::unique_ptr<bootstrap::Bootstrap> meet(const bootstrap::Launch& launch) {
  return bootstrap::Bootstrap::join(bootstrap::launch_unique_id(launch, 0), launch.size,
                                    launch.rank, init_deadline(), nullptr);
}

std::vector<std::string> all_texts(bootstrap::Bootstrap& meeting, const std::string& mine) {
  std::vector<std::string> texts;
  for (const auto& bytes : meeting.all_gather(std::as_bytes(std::span(mine)), init_deadline()))
    texts.emplace_back(reinterpret_cast<const char*>(bytes.data()), bytes.size());
  return texts;
}

}  // namespace tutti::command
