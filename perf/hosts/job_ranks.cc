// SPDX-License-Identifier: Apache-2.0
// Book-keeping of ranks on other hosts.
#include "perf/hosts/job_ranks.h"

#include <algorithm>
#include <string>

#include <nlohmann/json.hpp>
#include <spdlog/fmt/fmt.h>

#include "src/base/error.h"

namespace tutti::command {

using nlohmann::json;

JobRanks::JobRanks(int size, PrefixMode prefix, LineSink& out, LineSink& err) {
  for (int rank = 0; rank < size; ++rank) {
    ranks_.push_back({.out = LineSource(line_prefix(prefix, rank, true), out),
                      .err = LineSource(line_prefix(prefix, rank, false), err)});
  }
}

void JobRanks::order() {
  for (Rank& rank : ranks_) rank.running = true;
}

void JobRanks::on_frame(const HostShare& host, const Frame& frame) {
  if (frame.rank < host.first_rank || frame.rank >= host.first_rank + host.ranks) {
    throw Error(StatusCode::kRemoteError,
                fmt::format("expected one of {}, got rank {}", ranks_text(host), frame.rank));
  }
  Rank& rank = ranks_[static_cast<size_t>(frame.rank)];
  switch (frame.kind) {
    case FrameKind::kStarted:
      rank.pid = json::parse(frame.payload).at("pid");
      return;
    case FrameKind::kOut:
      return rank.out.add(frame.payload);
    case FrameKind::kErr:
      return rank.err.add(frame.payload);
    case FrameKind::kExited:
      rank.running = false;
      return note_exit(host, frame.rank, frame.payload);
    default:
      throw Error(StatusCode::kRemoteError, fmt::format("got a message of the unknown kind {}",
                                                        static_cast<int>(frame.kind)));
  }
}

// Of those that ended between two looks, one that was killed is the likelier cause.
void JobRanks::note_exit(const HostShare& host, int rank, const std::string& how) {
  const json end = json::parse(how);
  const int signal = end.at("signal");
  const int status = end.at("status");
  if (status == 0 || (first_failure_ && (first_failure_->signal != 0 || signal == 0))) return;
  first_failure_ = RankFailure{.rank = rank,
                               .pid = ranks_[static_cast<size_t>(rank)].pid,
                               .host = host.name,
                               .signal = signal,
                               .status = status};
}

void JobRanks::refused(const HostShare& host) {
  for (int r = host.first_rank; r < host.first_rank + host.ranks; ++r) {
    Rank& rank = ranks_[static_cast<size_t>(r)];
    if (rank.pid == 0) rank.running = false;
  }
}

int JobRanks::give_up(const HostShare& host) {
  const int ran = n_running_on(host);
  for (int r = host.first_rank; r < host.first_rank + host.ranks; ++r)
    ranks_[static_cast<size_t>(r)].running = false;
  return ran;
}

void JobRanks::finish_lines() {
  for (Rank& rank : ranks_)
    for (LineSource* lines : {&rank.out, &rank.err}) lines->finish();
}

int JobRanks::n_running() const {
  return static_cast<int>(std::ranges::count_if(ranks_, &Rank::running));
}

int JobRanks::n_running_on(const HostShare& host) const {
  const auto first = ranks_.begin() + host.first_rank;
  return static_cast<int>(
      std::count_if(first, first + host.ranks, [](const Rank& rank) { return rank.running; }));
}

}  // namespace tutti::command
