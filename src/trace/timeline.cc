// SPDX-License-Identifier: Apache-2.0
// Sorts recordings by communicator and relates their clocks.
#include "src/trace/timeline.h"

#include <algorithm>

#include <spdlog/fmt/fmt.h>

#include "src/base/clock.h"
#include "src/base/liveness.h"

namespace tutti::trace {
namespace {

std::string comm_text(const Recording& r) {
  return (r.comm_name.empty() ? fmt::format("comm {:x}", r.comm_id)
                              : fmt::format("comm '{}'", r.comm_name)) +
         fmt::format(" ({} {})", r.n_ranks, r.n_ranks == 1 ? "rank" : "ranks");
}

}  // namespace

char fate_of_process(const Recording& r) {
  if (r.host_id != this_process().host_id) return '?';
  return process_state({.host_id = r.host_id,
                        .process_uid = r.process_uid,
                        .pid = r.holder_pid != 0 ? r.holder_pid : r.pid,
                        .uid = r.uid,
                        .start_ticks = r.start_ticks});
}

Timeline::Timeline(const std::vector<Recording>& recordings) : recordings_(recordings) {
  for (const Recording& r : recordings) {
    offset_of_host_.emplace(r.host_id, r.wall_offset_ns);
    auto at = std::ranges::find_if(comms_, [&](const CommView& c) {
      return c.comm_id == r.comm_id && c.n_ranks == r.n_ranks;
    });
    if (at == comms_.end()) {
      comms_.push_back({r.comm_id, r.n_ranks, comm_text(r), {}});
      comms_.back().ranks.resize(static_cast<size_t>(r.n_ranks));
      at = comms_.end() - 1;
    }
    const Recording*& seat = at->ranks[static_cast<size_t>(r.rank)];
    if (seat == nullptr || common_ns(*seat, seat->opened_ns) < common_ns(r, r.opened_ns)) seat = &r;
  }
}

int64_t Timeline::common_ns(const Recording& recording, int64_t time_ns) const noexcept {
  const auto offset = offset_of_host_.find(recording.host_id);
  return time_ns + (offset != offset_of_host_.end() ? offset->second : recording.wall_offset_ns);
}

const CommView& Timeline::comm_of(const Recording& r) const {
  return *std::ranges::find_if(
      comms_, [&](const CommView& c) { return c.comm_id == r.comm_id && c.n_ranks == r.n_ranks; });
}

std::string Timeline::elsewhere(const Recording& recording) const {
  for (const Recording& other : recordings_) {
    const bool same_process =
        other.process_uid == recording.process_uid && other.host_id == recording.host_id;
    if (!same_process || other.comm_id == recording.comm_id || other.ring.empty()) continue;
    const Operation& last = other.ring.back();
    if (last.ended()) continue;
    return fmt::format(
        "its process is in {} of {} as rank {}{}", describe(last), comm_of(other).name, other.rank,
        last.waiting_for < 0 ? "" : fmt::format(", waiting for rank {}", last.waiting_for));
  }
  return "";
}

std::string rank_list(const std::vector<int>& ranks) {
  std::string text;
  for (size_t i = 0; i < ranks.size();) {
    size_t end = i + 1;
    while (end < ranks.size() && ranks[end] == ranks[end - 1] + 1) ++end;
    text += (text.empty() ? "" : ",") + std::to_string(ranks[i]);
    if (end - i > 1) text += "-" + std::to_string(ranks[end - 1]);
    i = end;
  }
  return text;
}

std::string ranks_text(const std::vector<int>& ranks) {
  return (ranks.size() == 1 ? "rank " : "ranks ") + rank_list(ranks);
}

std::string duration_text(int64_t ns) {
  const auto value = static_cast<double>(ns);
  if (ns >= kNsPerSecond) return fmt::format("{:.3g} s", value / kNsPerSecond);
  if (ns >= kNsPerMs) return fmt::format("{:.3g} ms", value / kNsPerMs);
  return fmt::format("{:.3g} us", value / kNsPerUs);
}

}  // namespace tutti::trace
