// SPDX-License-Identifier: Apache-2.0
// What `tutti run` says about ranks: prefixes of their lines, how they ended.
#pragma once

#include <cstdint>
#include <string>

#include <sys/types.h>

namespace tutti::command {

enum class PrefixMode : uint8_t {
  kOthers,  // "[rank] " before every line except those of rank 0's standard output
  kAll,
  kNone,
};

std::string line_prefix(PrefixMode mode, int rank, bool is_stdout);

struct RankFailure {
  int rank;
  pid_t pid;
  std::string host;  // "": this one
  int signal;        // 0: it exited
  int status;        // exit status, 128 + signal
  int others_stopped = 0;
  int passed_on = 0;  // the last signal that was forwarded before, 0: none
};

std::string others_text(int count, bool all_others);  // "the other 3 ranks were stopped"
std::string failure_text(const RankFailure& failure, int n_processes);

}  // namespace tutti::command
