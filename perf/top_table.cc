// SPDX-License-Identifier: Apache-2.0
// One table per communicator, verdicts below it.
#include "perf/top_table.h"

#include <algorithm>

#include <nlohmann/json.hpp>
#include <spdlog/fmt/fmt.h>

namespace tutti::command {
namespace {

constexpr size_t kOperationColumns = 44;

std::string state_text(const trace::LiveRank& live) {
  if (live.recording == nullptr) return "-";
  return live.state == 0 ? "gone" : std::string(1, live.state);
}

std::string rate_text(double rate) { return rate < 0 ? "-" : fmt::format("{:.1f}", rate); }
std::string bandwidth_text(double rate) {
  return rate < 0 ? "-" : fmt::format("{:.3f}", rate / 1e9);
}

std::string rank_line(const trace::LiveRank& live) {
  if (live.recording == nullptr)
    return fmt::format("{:>6} {:>8} {:<4} no recording here (another host or user?)", live.rank,
                       "-", "-");
  const std::string peer = live.waiting_for < 0 ? "" : fmt::format("rank {}", live.waiting_for);
  return fmt::format("{:>6} {:>8} {:<4} {:<{}} {:>8} {:>10} {:>9}  {}", live.rank,
                     live.recording->pid, state_text(live), live.doing.substr(0, kOperationColumns),
                     kOperationColumns, trace::duration_text(live.for_ns),
                     rate_text(live.operations_per_second), bandwidth_text(live.algbw), peer);
}

const trace::Recording& any_recording(const trace::LiveComm& comm) {
  return **std::ranges::find_if(comm.comm->ranks,
                                [](const trace::Recording* r) { return r != nullptr; });
}

nlohmann::json as_json(const trace::LiveRank& live) {
  using nlohmann::json;
  json rank = {{"rank", live.rank}, {"state", state_text(live)}};
  if (live.recording == nullptr) return rank;
  rank["pid"] = live.recording->pid;
  rank["operation"] = live.doing;
  rank["inside"] = live.inside;
  rank["seconds"] = static_cast<double>(live.for_ns) / 1e9;
  rank["operations"] = live.recording->operations;
  rank["operations_per_second"] =
      live.operations_per_second < 0 ? json() : json(live.operations_per_second);
  rank["algbw_gbps"] = live.algbw < 0 ? json() : json(live.algbw / 1e9);
  rank["waiting_for"] = live.waiting_for < 0 ? json() : json(live.waiting_for);
  return rank;
}

nlohmann::json as_json(const trace::LiveComm& comm) {
  const trace::Recording& any = any_recording(comm);
  nlohmann::json whole = {
      {"comm", comm.comm->name},         {"comm_id", fmt::format("{:x}", comm.comm->comm_id)},
      {"n_ranks", comm.comm->n_ranks},   {"job", any.job},
      {"program", any.program},          {"host", any.host},
      {"failure", comm.failure},         {"ranks", nlohmann::json::array()},
      {"waits", nlohmann::json::array()}};
  for (const trace::LiveRank& live : comm.ranks) whole["ranks"].push_back(as_json(live));
  for (const trace::Wait& wait : comm.waits) {
    whole["waits"].push_back({{"waiting", wait.waiting},
                              {"causes", wait.causes},
                              {"stuck", wait.stuck},
                              {"text", wait.text}});
  }
  return whole;
}

}  // namespace

std::vector<std::string> top_lines(const std::vector<trace::LiveComm>& comms) {
  std::vector<std::string> lines;
  for (const trace::LiveComm& comm : comms) {
    const trace::Recording& any = any_recording(comm);
    lines.push_back(fmt::format("{}: {} on {}{}", comm.comm->name, any.program, any.host,
                                any.job.empty() ? "" : ", job " + any.job));
    lines.push_back(fmt::format("{:>6} {:>8} {:<4} {:<{}} {:>8} {:>10} {:>9}  {}", "RANK", "PID",
                                "S", "OPERATION", kOperationColumns, "FOR", "OP/S", "GB/S",
                                "WAITS FOR"));
    for (const trace::LiveRank& live : comm.ranks) lines.push_back(rank_line(live));
    for (const trace::Wait& wait : comm.waits) lines.push_back("  => " + wait.text);
    if (!comm.failure.empty()) lines.push_back("  => " + comm.failure);
    lines.emplace_back();
  }
  return lines;
}

std::string top_json(const std::vector<trace::LiveComm>& comms,
                     const std::vector<std::string>& warnings) {
  nlohmann::json whole = {{"communicators", nlohmann::json::array()}, {"warnings", warnings}};
  for (const trace::LiveComm& comm : comms) whole["communicators"].push_back(as_json(comm));
  return whole.dump(-1, ' ', false, nlohmann::json::error_handler_t::replace);
}

}  // namespace tutti::command
