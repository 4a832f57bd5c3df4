// SPDX-License-Identifier: Apache-2.0
// The arguments of the kernels of MoE layers, shared by host and device (docs/design/moe.md, "On
// GPUs").
//
// Every rank has an *area* that the GPUs of all ranks reach. Block b of a launch handles the b-th
// share of the tokens of every source, so it synchronises with blocks b of the other ranks only.
#pragma once

#include <cstddef>
#include <cstdint>
#include <type_traits>

#include "src/kernels/cuda/symmetric_args.h"

namespace tutti::gpu {

inline constexpr uint32_t kMoeMostTopK = 128;
inline constexpr uint32_t kMoeLeft = 0xffu;  // of a rank that does not take part

// Where a pair of a token and one of its top-k goes: {rank : 16 | slot on that rank : 16}, or one
// of these, the largest first.
inline constexpr uint32_t kMoeNone = 0xffffffffu;     // nowhere, or with an earlier pair
inline constexpr uint32_t kMoeMasked = 0xfffffffeu;   // nobody who takes part has the expert
inline constexpr uint32_t kMoeUnknown = 0xfffffffdu;  // the index is no expert
constexpr bool moe_goes(uint32_t where) noexcept { return where < kMoeUnknown; }

// What a source counts: rows to each rank, pairs that are masked, pairs that are unknown, tokens
// that go anywhere, and (expert-major) rows to each slot of every rank.
constexpr uint32_t moe_masked_column(uint32_t n_ranks) noexcept { return n_ranks; }
constexpr uint32_t moe_unknown_column(uint32_t n_ranks) noexcept { return n_ranks + 1; }
constexpr uint32_t moe_sent_column(uint32_t n_ranks) noexcept { return n_ranks + 2; }
constexpr uint32_t moe_first_slot_column(uint32_t n_ranks) noexcept { return n_ranks + 3; }

// How rows travel and are received; values of moe::Quantization.
enum class MoeForm : uint32_t { kBfloat16, kE4m3Float32, kE4m3Ue8m0, kMxfp8 };

// What all ranks of a group agree on.
struct MoeShape {
  uint32_t n_ranks;  // of the group, those included that have left
  uint32_t n_experts;
  uint32_t n_columns;
  uint32_t max_top_k;
  uint32_t max_tokens;
  uint32_t hidden;
  MoeForm form;
  uint32_t row_bytes;    // of a received row
  uint32_t scale_bytes;  // of its scales
  uint32_t scales_at;    // within a staged row
  uint32_t staged_bytes;
  uint32_t partial_bytes;  // of a partial sum, as it is staged
  uint32_t sums_float;     // 1: partial sums are float32, else bfloat16
  uint32_t most_hops;      // ranks that a token can go to
  uint32_t rank_major;     // else expert-major
  uint32_t alignment;      // rows
  uint32_t overflows;      // 1: some rank may be sent more than it has room for
  uint32_t reports;        // 1: then the last rows are dropped, else all of them
  // Tokens of a block that are staged at a time, in each of two buffers.
  uint32_t dispatch_tokens;
  uint32_t combine_tokens;
  // Offsets in the areas. What peers read:
  uint64_t counts_at;                   // uint32_t [n_columns], and the number of tokens
  uint64_t where_at;                    // uint32_t [max_tokens][max_top_k]
  uint64_t details_at;                  // Vec8 [max_tokens][max_top_k]: {number of the row, weight}
  uint64_t staging_at;                  // [2][blocks][dispatch_tokens] rows, or what peers write,
                                        // [2][blocks][combine_tokens][most_hops] partial sums
  uint32_t first_slot[kMostRanks + 1];  // by rank, as columns
};

// Totals of the last dispatch, for the host: volatile words of page-locked memory.
struct MoeReport {
  uint64_t begun;  // dispatches whose sending has begun
  uint64_t ended;  // dispatches that have ended
  uint64_t rows, demand, dropped, dropped_of_mine, dropped_by_all;
  uint64_t overflowed;  // 1 + the first rank with too many rows; 0: none
  uint64_t overflow_demand;
  uint64_t unknown;  // 1 + the first place of the top-k table that is no expert; 0: none
};
// Of all calls of a group so far, for the host: the same.
struct MoeTotals {
  uint64_t dispatches, combines;
  uint64_t dispatch_rows, dispatch_payload, dispatch_metadata;  // sent to others
  uint64_t combine_rows, combine_payload;
  uint64_t dispatch_copies, combine_copies;  // bytes, read and written
  uint64_t received_rows, dropped_rows, masked_pairs;
};

// Of one handle, in this rank's own memory and not for others; what is counted lasts until the next
// dispatch.
struct MoeOwn {
  uint32_t* chunk_counts;  // [blocks][n_columns]: of the block's tokens
  uint32_t* chunk_bases;   // [blocks][n_columns]: of the blocks before it
  uint32_t* unknown;       // [blocks]: 1 + the first place in the block's part of the table
  uint32_t* tokens;        // [n_ranks]: of each source
  uint32_t* sums;          // [n_columns]: rows from all sources
  uint32_t* befores;       // [n_columns]: from the sources before this rank
  uint32_t* first;         // [n_ranks][blocks of rows]: number of each source's first row there
  // By block of rows (slot, or source rank): as tuttiMoeLayout_t has them.
  uint32_t* counts;
  uint32_t* received;
  uint32_t* aligned;
  uint32_t* offsets;
  uint64_t* by_rank;  // [n_ranks][4]: demand, dropped, dropped of this rank's, rows without gaps
  uint64_t* totals;   // MoeReport's five numbers, rows to dropped_by_all
  uint32_t* skips;    // 1: the dispatch delivers nothing, on any rank
  uint64_t* calls;    // dispatches whose sending has begun, and that have ended
  MoeTotals* sum;     // of the group
  MoeReport* report;  // of the host
  MoeTotals* shown;   // of the host, a copy of `sum`
};

// The user's, and constant tables in this rank's area.
struct MoeBuffers {
  const uint32_t* homes;       // [n_experts]: where this rank's tokens go
  const uint32_t* slots;       // [slots]: {rank : 16 | slot on it : 16}
  const uint64_t* capacities;  // [n_ranks]: rows of the receive buffers
  const int64_t* experts;      // [tokens][top_k]
  const float* weights;        // the same; null: all 1
  const std::byte* input;      // [tokens][hidden] bfloat16
  std::byte* rows;
  std::byte* scales;
  int64_t* row_experts;
  float* row_weights;
  int32_t* source_ranks;
  int32_t* source_tokens;
  const std::byte* computed;  // [capacity][hidden] bfloat16
  std::byte* output;          // [tokens][hidden] bfloat16
};

// The kernels of a dispatch, one after the other; `>` begins what waits for other ranks.
//   tutti_moe_route    where each pair goes, and its number within its block's tokens
//   tutti_moe_stage    numbers within all tokens; the first rows, quantised, into the own area
//   > tutti_moe_lay_out  one thread block: everybody's counts, and what follows from them
//   > tutti_moe_receive  rows from all areas to their places; in turns with staging more
// Those of a combine:
//   tutti_moe_sum      the first weighted sums, into the areas of the tokens' ranks
//   > tutti_moe_gather   the sums of these, to the output; in turns with more of them
// A call has ended on one rank when all ranks have read and written everything: its last barrier
// says so. So the next SEND need not wait.
struct MoeArgs {
  SymmetricTeam team;
  std::byte* areas[kMostRanks];      // by rank of the team, mapped here
  uint8_t team_rank_of[kMostRanks];  // by rank of the group
  MoeShape shape;
  MoeOwn own;
  MoeBuffers user;
  uint32_t rank;  // of the group
  uint32_t tokens;
  uint32_t top_k;
  uint32_t blocks;  // of all launches but lay_out's
};
static_assert(std::is_trivially_copyable_v<MoeArgs> && sizeof(MoeArgs) <= 4096);

}  // namespace tutti::gpu
