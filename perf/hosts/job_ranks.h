// SPDX-License-Identifier: Apache-2.0
// The ranks of a job on several hosts, as the launcher sees them: which run, what they write, which
// failed first.
#pragma once

#include <memory>
#include <optional>
#include <vector>

#include "perf/hosts/host_list.h"
#include "perf/hosts/wire.h"
#include "perf/job_text.h"
#include "perf/line_relay.h"

namespace tutti::command {

class JobRanks {
 public:
  // The sinks outlive it.
  JobRanks(int size, PrefixMode prefix, LineSink& out, LineSink& err);

  int size() const { return static_cast<int>(ranks_.size()); }
  // All hosts have been told to start theirs: from now on they run until they are said not to.
  void order();
  // What the host says about a rank: kStarted, kOut, kErr or kExited. Throws RemoteError when it is
  // none of its ranks, or another kind.
  void on_frame(const HostShare& host, const Frame& frame);
  // Those of the host that have not started won't.
  void refused(const HostShare& host);
  // Nothing is known any more of the host's; returns how many ran.
  int give_up(const HostShare& host);
  void finish_lines();

  int n_running() const;
  int n_running_on(const HostShare& host) const;
  bool is_running(int rank) const { return ranks_[static_cast<size_t>(rank)].running; }
  const std::optional<RankFailure>& first_failure() const { return first_failure_; }

 private:
  struct Rank {
    pid_t pid = 0;  // 0: its host has not yet said that it started
    bool running = false;
    LineSource out, err;
  };
  void note_exit(const HostShare& host, int rank, const std::string& how);
  std::vector<Rank> ranks_;
  std::optional<RankFailure> first_failure_;
};

}  // namespace tutti::command
