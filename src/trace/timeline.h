// SPDX-License-Identifier: Apache-2.0
// Recordings of several ranks brought together: by communicator, and on one clock.
#pragma once

#include <cstdint>
#include <functional>
#include <map>
#include <string>
#include <vector>

#include "src/trace/reader.h"

namespace tutti::trace {

// The state letter of the process of a recording, as in /proc/PID/stat; 0: gone; '?': can't be
// known (another host).
using Fate = std::function<char(const Recording&)>;
char fate_of_process(const Recording& recording);

// One communicator's recordings by rank; null where there is none.
struct CommView {
  uint64_t comm_id = 0;
  int32_t n_ranks = 1;
  std::string name;  // "comm 'dp' (8 ranks)", "comm 3f2a... (2 ranks)"
  std::vector<const Recording*> ranks;
};

// Recordings must stay. Two of one rank (of a communicator id that was used again): the later one.
class Timeline {
 public:
  explicit Timeline(const std::vector<Recording>& recordings);

  const std::vector<CommView>& comms() const noexcept { return comms_; }
  const std::vector<Recording>& recordings() const noexcept { return recordings_; }
  // A recording's time on the common clock, nanoseconds since 1970. Recordings of one host keep
  // their exact distances; hosts are as far apart as their wall clocks say.
  int64_t common_ns(const Recording& recording, int64_t time_ns) const noexcept;
  // What the process of `recording` does in another communicator right now; "" when nothing.
  std::string elsewhere(const Recording& recording) const;
  const CommView& comm_of(const Recording& recording) const;

 private:
  const std::vector<Recording>& recordings_;
  std::vector<CommView> comms_;
  std::map<uint64_t, int64_t> offset_of_host_;
};

// "3", "0-2,4-7".
std::string rank_list(const std::vector<int>& ranks);
// "rank 3", "ranks 0-2,4".
std::string ranks_text(const std::vector<int>& ranks);
// "12.3 s", "4.56 ms".
std::string duration_text(int64_t ns);

}  // namespace tutti::trace
