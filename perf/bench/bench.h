// SPDX-License-Identifier: Apache-2.0
// What one bandwidth binary says about its collective; the harness does the rest. Flags and output
// are those of nccl-tests.
#pragma once

#include <cstddef>
#include <vector>

#include "tutti/tutti.h"

namespace tutti::bench {

class RankGpu;

// Elements of each rank's buffers for one row, and what the row's count column says.
struct Sizes {
  size_t send = 0;
  size_t recv = 0;
  size_t count = 0;
  size_t send_in_place_at = 0;  // in place: element of the one buffer where the send part starts
  size_t recv_in_place_at = 0;
};

// A piece of a rank's receive buffer that must hold the reduction, or one rank's input, from some
// element on.
struct Piece {
  static constexpr int kReduction = -1;
  size_t at = 0;
  size_t count = 0;
  int source = kReduction;
  size_t first = 0;
};

// One call of one rank.
struct Call {
  const void* send = nullptr;
  void* recv = nullptr;
  Sizes sizes;
  tuttiDataType_t type = tuttiFloat32;
  tuttiRedOp_t op = tuttiSum;
  int root = 0;
  int rank = 0;
  int n_ranks = 1;
  int stage = 0;
  tuttiComm_t comm = nullptr;
  tuttiStream_t stream = nullptr;  // of the rank's GPU
  const RankGpu* gpu = nullptr;    // null: of the host
};

struct Bandwidth {
  double algorithm_gbps = 0;  // GB/s
  double bus_gbps = 0;
};

struct Test {
  const char* name = nullptr;  // "all_reduce_perf"
  bool has_op = false;
  bool has_root = false;
  bool in_place = true;
  bool in_group = false;               // issue() makes calls that have to be inside a group
  const char* ranks_wanted = nullptr;  // when not every number of ranks will do: which
  bool (*supports)(int n_ranks) = nullptr;
  // How many groups make one operation, each needing the data of the one before; null: 1.
  int (*stages)(int n_ranks) = nullptr;
  // `count` elements of `elem_bytes` were asked for in all.
  Sizes (*sizes)(size_t count, size_t elem_bytes, int n_ranks) = nullptr;
  tuttiResult_t (*issue)(const Call& call) = nullptr;
  std::vector<Piece> (*expect)(const Sizes& sizes, int rank, int n_ranks, int root) = nullptr;
  Bandwidth (*bandwidth)(const Sizes& sizes, size_t elem_bytes, double seconds,
                         int n_ranks) = nullptr;
};

// From one of the rank's buffers to another, before the calls that follow.
void copy_locally(const Call& call, void* to, const void* from, size_t bytes);

// Bytes over seconds in GB/s, and that times the factor that makes it comparable with the
// hardware's speed.
Bandwidth bandwidth(double bytes, double seconds, double bus_factor);

// Sizes of the collectives in which every rank owns a block: a multiple of 16 bytes for each.
size_t block_elems(size_t count, size_t elem_bytes, int n_ranks);

// main() of a bandwidth binary.
int bench_main(int argc, char** argv, const Test& test);

}  // namespace tutti::bench
