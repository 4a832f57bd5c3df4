// SPDX-License-Identifier: Apache-2.0
// The ranks of one thread of a bandwidth binary, and what all ranks of the job do together.
#pragma once

#include <cstddef>
#include <memory>
#include <vector>

#include "perf/bench/bench.h"
#include "perf/bench/gpu.h"
#include "perf/bench/options.h"
#include "perf/bench/pattern.h"
#include "perf/bench/table.h"

namespace tutti::bench {

// Ends the process with the library's message when a call has failed: a benchmark has nothing to go
// on with. `comm`: whose it was, when it had returned before.
void require(tuttiResult_t result, const char* what, tuttiComm_t comm = nullptr);

// Memory of one rank for the largest row. Which kind is -R's choice.
struct RankBuffers {
  std::byte* send = nullptr;
  std::byte* recv = nullptr;
};

class Team {
 public:
  struct Seats {
    int n_ranks = 1;
    int first = 0;  // ranks first .. first + count - 1 are the team's
    int count = 1;
    int first_gpu = kNoGpu;
  };
  Team(const Options& options, const Seats& seats, const tuttiUniqueId& id);
  ~Team();
  Team(const Team&) = delete;
  Team& operator=(const Team&) = delete;

  int n_ranks() const { return n_ranks_; }
  int first_rank() const { return first_; }
  size_t size() const { return comms_.size(); }
  tuttiComm_t comm(size_t i) const { return comms_[i]; }
  int rank(size_t i) const { return first_ + static_cast<int>(i); }
  const RankBuffers& buffers(size_t i) const { return buffers_[i]; }
  const RankGpu* gpu(size_t i) const { return gpus_[i].get(); }  // null: of the host
  tuttiStream_t stream(size_t i) const { return gpus_[i] ? gpus_[i]->stream() : nullptr; }
  Patterns& patterns() { return patterns_; }

  // Allocates buffers of so many bytes each.
  void allocate(size_t bytes);
  // Until what was issued is complete, which on the host it always is.
  void wait() const;
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
  void allocate_on_host(size_t bytes);
  void register_windows(size_t bytes);
  RankLine line(size_t i) const;

  const Options& options_;
  int n_ranks_;
  int first_;
  std::vector<std::unique_ptr<RankGpu>> gpus_;  // of all ranks, or null for all
  std::vector<tuttiComm_t> comms_;
  std::vector<RankBuffers> buffers_;
  std::vector<void*> handles_;  // of registrations
  std::vector<tuttiWindow_t> windows_;
  std::vector<OwnOp> own_ops_;
  Patterns patterns_;
};

}  // namespace tutti::bench
