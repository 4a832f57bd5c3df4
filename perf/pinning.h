// SPDX-License-Identifier: Apache-2.0
// Which CPUs each process of a job on this host runs on.
#pragma once

#include <cstddef>
#include <cstdint>
#include <vector>

namespace tutti::command {

enum class Pinning : uint8_t {
  kShare,  // as many processes as cores or fewer: each gets its equal share of the cores; more: not
           // pinned
  kRoundRobin,  // each process to one core
  kNone,
};

class CoreShares {
 public:
  // Looks at the machine unless `pinning` is kNone. Throws SystemError when kRoundRobin finds no
  // core.
  CoreShares(Pinning pinning, int processes);
  // Empty: wherever it may.
  std::vector<int32_t> cpus_of(int process) const;

 private:
  Pinning pinning_;
  size_t processes_;
  std::vector<std::vector<int32_t>> cores_;  // the CPUs of each; empty when nothing is pinned
};

}  // namespace tutti::command
