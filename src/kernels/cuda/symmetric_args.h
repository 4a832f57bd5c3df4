// SPDX-License-Identifier: Apache-2.0
// The arguments of the kernels on symmetric memory, shared by host and device: every rank's buffers
// are mapped on every device of the team.
//
// All ranks launch a kernel with the same number of blocks: block b of one rank synchronises with
// blocks b of the others only, and every kernel divides each range of bytes among its blocks in the
// same way. What a kernel reads must have been written by work before it in its stream; when it has
// ended on one rank, all ranks have read and written everything.
#pragma once

#include <cstddef>
#include <cstdint>
#include <type_traits>

#include "src/kernels/cuda/move.h"
#include "src/kernels/cuda/multimem.h"
#include "src/kernels/cuda/report.h"

namespace tutti::gpu {

inline constexpr uint32_t kMostRanks = kMostOperands;

// The barrier between the ranks. Flags and epochs are zero at first and kept between launches, so
// that a launch can be captured and repeated. A flag is {signature : 32 | epoch : 32}.
struct SymmetricTeam {
  // Of rank r, mapped here: n_blocks * n_ranks words, [block][who arrives].
  uint64_t* flags[kMostRanks];
  uint32_t* epochs;  // own: one per block, barriers that it has passed
  uint32_t rank;
  uint32_t n_ranks;
  uint32_t signature;  // of the call; a rank that arrives with another one is a mismatch
  uint32_t reserved;
  Watch watch;
};
constexpr size_t symmetric_flags_bytes(uint32_t n_blocks, uint32_t n_ranks) noexcept {
  return size_t{n_blocks} * n_ranks * sizeof(uint64_t);
}

// tutti_reduce_copy_<dtype>: barrier, sinks <- reduce(sources), barrier. By what the host puts into
// `move`:
//   one-shot AllReduce   sources: every rank's input, in rank order; sink: own output.
//                        Reads n, writes 1 per byte of the result; one barrier before the data.
//   two-shot AllReduce   sources: slice `rank` of every input; sinks: slice `rank` of every output.
//                        Reads 1, writes 1 (n times 1/n). Input and output may be the same.
//   ReduceScatter        sources: block `rank` of every input; sink: own output.
//   anything local       team.n_ranks is 0: no barriers, and the rest of `team` is not looked at
struct ReduceCopyArgs {
  SymmetricTeam team;
  Move move;
  Reduction reduction;
};
static_assert(std::is_trivially_copyable_v<ReduceCopyArgs> && sizeof(ReduceCopyArgs) <= 4096);

struct CopyPiece {
  const std::byte* source;
  std::byte* sink;
  uint64_t bytes;
};
// tutti_symmetric_copy: barrier, pieces, [barrier,] one source to all sinks, barrier.
//   AllToAll             pieces: block j of the input to its place in the output of rank j
//   AllGather            sinks: place `rank` of every output
//   Broadcast            root: sinks: every output. Or, for large ones: the root's pieces are slice
//                        j to the output of rank j, then each rank's sinks are its slice of every
//                        other output.
// Pieces may be pulled as well: then the sinks are own and the sources the others'.
struct SymmetricCopyArgs {
  SymmetricTeam team;
  CopyPiece pieces[kMostRanks];
  const std::byte* source;
  std::byte* sinks[kMostRanks];
  uint64_t bytes;     // of source
  uint32_t n_pieces;  // begun with piece rank + 1, modulo their number, so that ranks spread out
  uint32_t n_sinks;   // 0: no such part
  uint32_t barrier_between;  // 1 on all ranks or on none
  uint32_t reserved;
};
static_assert(std::is_trivially_copyable_v<SymmetricCopyArgs> && sizeof(SymmetricCopyArgs) <= 4096);

// tutti_symmetric_all_to_all_v: barrier, block j of the input to its place in the output of rank j,
// barrier. Sizes and places are in device memory and read when the kernel runs.
struct AllToAllVArgs {
  SymmetricTeam team;
  const std::byte* input;
  std::byte* outputs[kMostRanks];  // of rank r, mapped here
  // Elements, by rank: own; and of rank r, mapped here, where block `rank` goes in its output.
  const uint64_t* send_counts;
  const uint64_t* send_offsets;
  const uint64_t* receive_offsets[kMostRanks];
  uint32_t elem_bytes;
  uint32_t reserved;
};
static_assert(std::is_trivially_copyable_v<AllToAllVArgs> && sizeof(AllToAllVArgs) <= 4096);

// tutti_nvls_<dtype> (sm_90 and above, multicast objects): barrier, the bytes, barrier. All
// addresses and `bytes` are multiples of 16. `input` and `output` are multicast addresses unless
// said otherwise.
//   kAllReduce      output <- reduce(input), this rank's slice: reads 1, writes 1 per byte at the
//                   switch, each rank 1/n of both
//   kReduceScatter  own output (not multicast) <- reduce(input), this rank's block
//   kGather         output <- own input (not multicast): AllGather, and Broadcast at the root
enum class Nvls : uint32_t { kAllReduce = 0, kReduceScatter = 1, kGather = 2 };
struct NvlsArgs {
  SymmetricTeam team;
  const std::byte* input;
  std::byte* output;
  uint64_t bytes;  // of this rank's slice or block; 0: takes part in the barriers only
  // A pair that multimem_reduces(), or Avg; means of 16-bit floats round twice.
  Reduction reduction;
  Nvls kind;
};
static_assert(std::is_trivially_copyable_v<NvlsArgs> && sizeof(NvlsArgs) <= 4096);

// tutti_signal: adds to words of other ranks (or of the host), with everything before it in the
// stream visible to who acquires them. tutti_wait: until each word has reached its value (modulo
// 2^64); what was before the signals is visible to what follows in the stream. One block.
struct Signal {
  uint64_t* word;
  uint64_t value;
  int32_t rank;  // for reports
  uint32_t reserved;
};
struct SignalArgs {
  Signal signals[kMostRanks];
  Watch watch;
  uint32_t n;
  uint32_t reserved;
};
static_assert(std::is_trivially_copyable_v<SignalArgs> && sizeof(SignalArgs) <= 4096);

}  // namespace tutti::gpu
