// SPDX-License-Identifier: Apache-2.0
// What a job on several hosts starts from: the remote shell's command, the orders of each host, and
// the search for an address to meet at.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "perf/hosts/agent.h"
#include "perf/hosts/host_list.h"

namespace tutti::command {

struct RunOptions;

// The words that start an agent on the host; without a remote shell where that is this host.
std::vector<std::string> agent_command(const RunOptions& options, const std::string& host);

// All but what differs between hosts: the variables hold TUTTI_* of this environment, what -x
// names, the job's name, and a fresh secret where ranks meet over the network. Throws
// InvalidArgument.
AgentOrders common_orders(const RunOptions& options);
int size_of(const std::vector<HostShare>& hosts);

// Offers one address after the other to all hosts but rank 0's, until one is reached by all.
class MeetingSearch {
 public:
  void offer(const std::string& json_text, int n_visitors);
  // The next address to try, as the payload of kCheck; nullopt when none is left.
  std::optional<std::string> next();
  // What a host found; true when all have answered. `why_not` is "" when it was there.
  bool add_answer(const std::string& host, const std::string& why_not);
  bool reached() const { return reached_; }
  std::string failures() const { return failures_; }
  // MASTER_ADDR and TUTTI_PORT as a JSON list, for kGo.
  std::string variables() const;

 private:
  std::vector<std::string> addresses_;
  uint16_t port_ = 0;
  std::string token_;
  size_t next_ = 0;
  int n_visitors_ = 0, n_answers_ = 0;
  bool reached_ = false;
  std::string failures_;
};

}  // namespace tutti::command
