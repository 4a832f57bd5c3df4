// SPDX-License-Identifier: Apache-2.0
// The ranks of one thread of a bandwidth binary, and what all ranks of the job do together.
#pragma once

#include <cstddef>
#include <vector>

#include "perf/bench/bench.h"
#include "perf/bench/options.h"
#include "perf/bench/pattern.h"
#include "perf/bench/table.h"

namespace tutti::bench {

// Ends the process with the library's message when a call has failed: a benchmark has nothing to go
// on with.
void require(tuttiResult_t result, const char* what);

// Memory of one rank for the largest row. Which kind is -R's choice.
struct RankBuffers {
  std::byte* send = nullptr;
  std::byte* recv = nullptr;
};

class Team {
 public:
  // Ranks first .. first + count - 1 of n_ranks.
  Team(const Options& options, int n_ranks, int first, int count, const tuttiUniqueId& id);
  ~Team();
  Team(const Team&) = delete;
  Team& operator=(const Team&) = delete;

  int n_ranks() const { return n_ranks_; }
  int first_rank() const { return first_; }
  size_t size() const { return comms_.size(); }
  tuttiComm_t comm(size_t i) const { return comms_[i]; }
  int rank(size_t i) const { return first_ + static_cast<int>(i); }
  const RankBuffers& buffers(size_t i) const { return buffers_[i]; }
  Patterns& patterns() { return patterns_; }

  // Allocates buffers of so many bytes each.
  void allocate(size_t bytes);
  // `value` of this team reduced over all ranks of the job; also a barrier.
  double reduce(double value, tuttiRedOp_t op);
  std::vector<RankLine> gather_lines();
  // The operation for op number `op`; made and destroyed with the team where it is PreMulSum.
  tuttiRedOp_t operation(size_t i, int op, int type);
  void release_operations();

 private:
  struct OwnOp {
    tuttiRedOp_t op;
    size_t index;
    int type;
  };
  const Options& options_;
  int n_ranks_;
  int first_;
  std::vector<tuttiComm_t> comms_;
  std::vector<RankBuffers> buffers_;
  std::vector<void*> handles_;  // of registrations
  std::vector<tuttiWindow_t> windows_;
  std::vector<OwnOp> own_ops_;
  Patterns patterns_;
};

}  // namespace tutti::bench
