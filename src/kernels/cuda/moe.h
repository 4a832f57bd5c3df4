// SPDX-License-Identifier: Apache-2.0
// What the kernels of MoE layers share: whose tokens a block handles, where things lie, and the
// places of one row.
#pragma once

#include <cstddef>
#include <cstdint>

#include "src/kernels/cuda/moe_args.h"
#include "src/kernels/cuda/symmetric.h"

namespace tutti::gpu {

inline constexpr uint32_t kMoeWarps = kMostThreads / kWarpThreads;

// Of one row: where it lies, and by which weights it is summed. Written by a warp for itself.
struct MoePlaces {
  uint32_t position[kMoeMostTopK];
  float weight[kMoeMostTopK];
};
struct MoeShared {
  MoePlaces of_warp[kMoeWarps];
};

TUTTI_GPU uint32_t ones_of(uint32_t bits) {
  bits -= bits >> 1 & 0x55555555u;
  bits = (bits & 0x33333333u) + (bits >> 2 & 0x33333333u);
  return ((bits + (bits >> 4)) & 0x0f0f0f0fu) * 0x01010101u >> 24;
}
TUTTI_GPU uint32_t ones_of(uint64_t bits) {
  return ones_of(static_cast<uint32_t>(bits)) + ones_of(static_cast<uint32_t>(bits >> 32));
}
TUTTI_GPU uint32_t least_of(uint32_t a, uint32_t b) { return a < b ? a : b; }

struct Tokens {
  uint32_t begin;
  uint32_t end;
};
// This block's share of a source's tokens.
TUTTI_GPU Tokens share_of(uint32_t tokens) {
  const uint32_t each = (tokens + grid_blocks() - 1) / grid_blocks();
  const uint32_t begin = least_of(each * block_index().x, tokens);
  return {begin, least_of(begin + each, tokens)};
}
// Of a share, what is staged in one round.
TUTTI_GPU Tokens round_of(Tokens share, uint32_t round, uint32_t each) {
  const uint32_t begin = least_of(share.begin + round * each, share.end);
  return {begin, least_of(begin + each, share.end)};
}

// Rounds of a call, the same in block b of every rank, and tokens of a share that may be staged in
// each.
struct Rounds {
  uint32_t count;
  uint32_t tokens;
};
TUTTI_GPU Rounds rounds_of(const MoeArgs& args, uint32_t staged_tokens) {
  uint32_t most = 0;
  TUTTI_NO_UNROLL
  for (uint32_t r = 0; r < args.shape.n_ranks; ++r) {
    const uint32_t tokens = load(args.own.tokens + r);
    if (tokens > most) most = tokens;
  }
  const uint32_t share = (most + grid_blocks() - 1) / grid_blocks();
  const uint32_t each = least_of(share, staged_tokens);
  return {each == 0 ? 0 : (share + each - 1) / each, each};
}

TUTTI_GPU bool takes_part(const MoeArgs& args, uint32_t rank) {
  return args.team_rank_of[rank] != kMoeLeft;
}
template <class T>
TUTTI_GPU T* in_area(const MoeArgs& args, uint32_t rank, uint64_t offset) {
  return reinterpret_cast<T*>(args.areas[args.team_rank_of[rank]] + offset);
}
TUTTI_GPU const uint32_t* where_of(const MoeArgs& args, uint32_t rank, uint32_t token) {
  return in_area<const uint32_t>(args, rank, args.shape.where_at) +
         uint64_t{token} * args.shape.max_top_k;
}
TUTTI_GPU const Vec8* details_of(const MoeArgs& args, uint32_t rank, uint32_t token) {
  return in_area<const Vec8>(args, rank, args.shape.details_at) +
         uint64_t{token} * args.shape.max_top_k;
}
// Of the token's index within its block's round.
TUTTI_GPU std::byte* staged_row(const MoeArgs& args, uint32_t rank, uint32_t round,
                                uint32_t index) {
  const uint64_t place =
      (uint64_t{round % 2} * grid_blocks() + block_index().x) * args.shape.dispatch_tokens + index;
  return in_area<std::byte>(args, rank, args.shape.staging_at) + place * args.shape.staged_bytes;
}
TUTTI_GPU std::byte* staged_sum(const MoeArgs& args, uint32_t rank, uint32_t round, uint32_t index,
                                uint32_t hop) {
  const uint64_t token =
      (uint64_t{round % 2} * grid_blocks() + block_index().x) * args.shape.combine_tokens + index;
  return in_area<std::byte>(args, rank, args.shape.staging_at) +
         (token * args.shape.most_hops + hop) * args.shape.partial_bytes;
}

TUTTI_GPU uint32_t block_warps() { return block_threads() / kWarpThreads; }

// By a warp: the ranks that a token goes to, as bits.
TUTTI_GPU uint64_t ranks_of(const MoeArgs& args, const uint32_t* where) {
  uint64_t ranks = 0;
  TUTTI_NO_UNROLL
  for (uint32_t j = lane_id(); j < args.shape.max_top_k; j += kWarpThreads) {
    const uint32_t to = load(where + j);
    if (moe_goes(to)) ranks |= uint64_t{1} << (to >> 16);
  }
  TUTTI_UNROLL
  for (uint32_t apart = 1; apart < kWarpThreads; apart *= 2) ranks |= shuffle_xor(ranks, apart);
  return ranks;
}

// By a warp: body(source, token, index) for the tokens of one round of all sources, of which each
// warp takes its part; beginning behind this rank, so that ranks do not all read the same area.
template <class Body>
TUTTI_GPU void for_tokens(const MoeArgs& args, Rounds rounds, uint32_t round, Body body) {
  const uint32_t n = args.shape.n_ranks;
  TUTTI_NO_UNROLL
  for (uint32_t i = warp_id(); i < n * rounds.tokens; i += block_warps()) {
    const uint32_t source = (args.rank + 1 + i / rounds.tokens) % n;
    if (!takes_part(args, source)) continue;
    const uint32_t index = i % rounds.tokens;
    const Tokens part = round_of(share_of(load(args.own.tokens + source)), round, rounds.tokens);
    if (part.begin + index < part.end) body(source, part.begin + index, index);
  }
}

// One pair of a received token.
struct MoePair {
  uint32_t to;     // as `where`
  uint32_t place;  // of the row; UINT32_MAX: it was dropped
  float weight;
};
TUTTI_GPU MoePair pair_of(const MoeArgs& args, uint32_t source, uint32_t token, uint32_t j) {
  MoePair pair = {kMoeNone, UINT32_MAX, 0.0F};
  if (j >= args.shape.max_top_k) return pair;
  const uint32_t to = load(where_of(args, source, token) + j);
  if (!moe_goes(to) || to >> 16 != args.rank) return pair;
  const Vec8 detail = load(details_of(args, source, token) + j);
  const bool by_rank = args.shape.rank_major != 0;
  const uint32_t block = by_rank ? source : to & 0xffffu;
  const uint32_t n_blocks =
      by_rank ? 0 : args.shape.first_slot[args.rank + 1] - args.shape.first_slot[args.rank];
  const uint32_t number =
      detail.x + (by_rank ? 0 : load(args.own.first + uint64_t{source} * n_blocks + block));
  pair.to = to;
  pair.weight = __builtin_bit_cast(float, detail.y);
  if (number < load(args.own.received + block))
    pair.place = load(args.own.offsets + block) + number;
  return pair;
}

// By a warp: the places of a source's token on this rank, in the order of its top-k, without those
// that were dropped; rank-major it is one at most. Returns how many; ends with a warp's barrier.
TUTTI_GPU uint32_t find_places(const MoeArgs& args, uint32_t source, uint32_t token,
                               MoePlaces& places) {
  uint32_t n = 0;
  warp_barrier();  // the places of the last row have been read
  TUTTI_NO_UNROLL
  for (uint32_t first = 0; first < args.shape.max_top_k; first += kWarpThreads) {
    const MoePair pair = pair_of(args, source, token, first + lane_id());
    const bool there = pair.place != UINT32_MAX;
    const uint32_t mask = ballot(there);
    const uint32_t at = n + ones_of(mask & ((1u << lane_id()) - 1u));
    if (args.shape.rank_major != 0) {
      if (there) places.position[0] = pair.place;  // the same in all lanes
      if (mask != 0) n = 1;
      continue;
    }
    if (there) {
      places.position[at] = pair.place;
      places.weight[at] = pair.weight;
    }
    n += ones_of(mask);
  }
  warp_barrier();
  return n;
}

}  // namespace tutti::gpu
