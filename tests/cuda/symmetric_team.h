// SPDX-License-Identifier: Apache-2.0
// What kernels on symmetric memory need of each device, for tests of kernels.
#pragma once

#include <algorithm>
#include <vector>

#include "src/kernels/cuda/symmetric_args.h"
#include "tests/cuda/gpu_memory.h"

namespace tutti::test {

// Every rank's flags, mapped everywhere, and its own epochs.
class SymmetricTeams {
 public:
  SymmetricTeams(const Gpus& gpus, unsigned blocks) : gpus_(gpus) {
    const auto n = static_cast<size_t>(gpus.count());
    for (int r = 0; r < gpus.count(); ++r) {
      flags_.push_back(gpus.alloc_of<uint64_t>(r, blocks * n));
      epochs_.push_back(gpus.alloc_of<uint32_t>(r, blocks));
      watches_.push_back(gpus.watch(r, blocks));
    }
  }
  gpu::SymmetricTeam of(int rank, uint32_t signature = 7) const {
    gpu::SymmetricTeam team{};
    std::copy(flags_.begin(), flags_.end(), team.flags);
    team.epochs = epochs_[static_cast<size_t>(rank)];
    team.rank = static_cast<uint32_t>(rank);
    team.n_ranks = static_cast<uint32_t>(gpus_.count());
    team.signature = signature;
    team.watch = watches_[static_cast<size_t>(rank)];
    return team;
  }

 private:
  const Gpus& gpus_;
  std::vector<uint64_t*> flags_;
  std::vector<uint32_t*> epochs_;
  std::vector<gpu::Watch> watches_;
};

}  // namespace tutti::test
