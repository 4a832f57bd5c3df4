// SPDX-License-Identifier: Apache-2.0
// Equal shares of the cores, dealt out anew each turn.
#include "perf/tune/placement.h"

#include <algorithm>
#include <numeric>
#include <random>
#include <vector>

namespace tutti::command {

Placement::Placement(int rank, int n_ranks) : rank_(rank), n_ranks_(n_ranks) {
  if (::sched_getaffinity(0, sizeof usable_, &usable_) != 0) CPU_ZERO(&usable_);
}

bool Placement::shuffle(uint32_t turn) const {
  std::vector<int> cores;
  for (int core = 0; core < CPU_SETSIZE; ++core)
    if (CPU_ISSET(static_cast<size_t>(core), &usable_)) cores.push_back(core);
  if (cores.empty() || static_cast<size_t>(n_ranks_) <= cores.size()) return false;
  std::vector<size_t> dealt(static_cast<size_t>(n_ranks_));
  std::iota(dealt.begin(), dealt.end(), size_t{0});
  std::mt19937 random(turn);  // NOLINT(bugprone-random-generator-seed): all ranks deal alike
  std::shuffle(dealt.begin(), dealt.end(), random);
  cpu_set_t one;
  CPU_ZERO(&one);
  CPU_SET(static_cast<size_t>(cores[dealt[static_cast<size_t>(rank_)] % cores.size()]), &one);
  if (::sched_setaffinity(0, sizeof one, &one) != 0) return false;
  return ::sched_setaffinity(0, sizeof usable_, &usable_) == 0;
}

}  // namespace tutti::command
