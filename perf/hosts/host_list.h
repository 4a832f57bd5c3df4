// SPDX-License-Identifier: Apache-2.0
// The hosts of a job: what `--hosts` says, and which ranks run where.
#pragma once

#include <string>
#include <vector>

namespace tutti::command {

struct HostShare {
  std::string name;  // as the user wrote it, for rsh
  int first_rank = 0;
  int ranks = 0;
};

// "a:4,user@b:2,[fd00::1]:4,c": hosts with their slots, one where no number is given; a host that
// is named again gets more of them. Ranks fill the slots in order; `ranks` is how many, 0 for as
// many as there are slots. Hosts that get none are left out. Throws InvalidArgument.
std::vector<HostShare> share_ranks(const std::string& hosts, int ranks);

// "ranks 4-7", "rank 3".
std::string ranks_text(const HostShare& host);

}  // namespace tutti::command
