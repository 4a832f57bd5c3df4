// SPDX-License-Identifier: Apache-2.0
// The kernels of MoE layers (moe_args.h): dispatch pulls quantised rows out of the areas of their
// sources, combine pushes sums into the areas of the tokens' ranks.
//
// Two buffers take turns: while one round's rows are read, the next round's are written, and a
// barrier between the ranks' blocks of one number ends each round. So a buffer is written again
// only when everybody has read it.
#include "src/kernels/cuda/moe.h"
#include "src/kernels/cuda/moe_route.h"
#include "src/kernels/cuda/moe_rows.h"

namespace tutti::gpu {

// --- Dispatch

TUTTI_GPU void stage_token(const MoeArgs& args, uint32_t token, std::byte* to, MoePlaces& places) {
  const MoeShape& shape = args.shape;
  const std::byte* const row = args.user.input + uint64_t{token} * shape.hidden * 2;
  if (shape.form != MoeForm::kBfloat16) return stage_row(shape, row, to);
  warp_barrier();  // the places of the last row have been read
  if (lane_id() == 0) places.position[0] = 0;
  warp_barrier();
  copy_row_to({row, shape.row_bytes}, {to, 0}, places, 1);
}
// This rank's tokens of one round, into its own area.
TUTTI_GPU void stage_round(const MoeArgs& args, uint32_t round, MoeShared& shared) {
  const Tokens part = round_of(share_of(args.tokens), round, args.shape.dispatch_tokens);
  TUTTI_NO_UNROLL
  for (uint32_t t = part.begin + warp_id(); t < part.end; t += block_warps()) {
    if (ranks_of(args, where_of(args, args.rank, t)) == 0) continue;
    stage_token(args, t, staged_row(args, args.rank, round, t - part.begin),
                shared.of_warp[warp_id()]);
  }
}

// By the lanes that have a place each.
TUTTI_GPU void describe(const MoeArgs& args, uint32_t place, uint32_t source, uint32_t token) {
  const MoeBuffers& user = args.user;
  if (user.source_ranks != nullptr)
    store(reinterpret_cast<uint32_t*>(user.source_ranks) + place, source);
  if (user.source_tokens != nullptr)
    store(reinterpret_cast<uint32_t*>(user.source_tokens) + place, token);
}
// Rank-major: the experts of a row and their weights, then -1 and 0.
TUTTI_GPU void describe_experts(const MoeArgs& args, uint32_t place, uint32_t source,
                                uint32_t token) {
  const uint32_t k = args.shape.max_top_k;
  auto* const experts = reinterpret_cast<uint64_t*>(args.user.row_experts) + uint64_t{place} * k;
  auto* const weights = reinterpret_cast<uint32_t*>(args.user.row_weights) + uint64_t{place} * k;
  const auto write = [&](uint32_t at, uint64_t expert, float weight) {
    if (args.user.row_experts != nullptr) store(experts + at, expert);
    if (args.user.row_weights != nullptr) store(weights + at, __builtin_bit_cast(uint32_t, weight));
  };
  uint32_t n = 0;
  TUTTI_NO_UNROLL
  for (uint32_t first = 0; first < k; first += kWarpThreads) {
    TUTTI_PROOF_LOOP("counts", 0, 0);
    const MoePair pair = pair_of(args, source, token, first + lane_id());
    const bool here = moe_goes(pair.to);
    const uint32_t mask = ballot(here);
    if (here) write(n + ones_of(mask & ((1u << lane_id()) - 1u)), pair.to & 0xffffu, pair.weight);
    n += ones_of(mask);
  }
  TUTTI_NO_UNROLL
  for (uint32_t at = n + lane_id(); at < k; at += kWarpThreads) {
    TUTTI_PROOF_LOOP("counts", 0, 0);
    write(at, ~uint64_t{0}, 0.0F);
  }
}

// A source's token, from its area to its places here.
TUTTI_GPU void receive_row(const MoeArgs& args, uint32_t source, uint32_t token,
                           const std::byte* staged, MoePlaces& places) {
  const MoeShape& shape = args.shape;
  const uint32_t n = find_places(args, source, token, places);
  if (n == 0) return;
  copy_row_to({staged, shape.row_bytes}, {args.user.rows, shape.row_bytes}, places, n);
  if (shape.scale_bytes != 0) {
    copy_row_to({staged + shape.scales_at, shape.scale_bytes},
                {args.user.scales, shape.scale_bytes}, places, n);
  }
  TUTTI_NO_UNROLL
  for (uint32_t i = lane_id(); i < n; i += kWarpThreads) {
    TUTTI_PROOF_LOOP("counts", 0, 0);
    describe(args, places.position[i], source, token);
  }
  if (shape.rank_major != 0) describe_experts(args, places.position[0], source, token);
}
TUTTI_GPU void receive_round(const MoeArgs& args, Rounds rounds, uint32_t round,
                             MoeShared& shared) {
  for_tokens(args, rounds, round, [&](uint32_t source, uint32_t token, uint32_t index) {
    receive_row(args, source, token, staged_row(args, source, round, index),
                shared.of_warp[warp_id()]);
  });
}

TUTTI_GPU uint64_t plus(uint64_t* sum, uint64_t* shown, uint64_t value) {
  const uint64_t now = load(sum) + value;
  store(sum, now);
  store_volatile(shown, now);
  return now;
}
// Rows that this rank's tokens make on all other ranks, or that it has from them.
TUTTI_GPU uint64_t rows_to_others(const MoeArgs& args) {
  const uint32_t* const counts = counts_of(args, args.rank);
  uint64_t rows = 0;
  TUTTI_NO_UNROLL
  for (uint32_t r = 0; r < args.shape.n_ranks; ++r)
    if (r != args.rank) rows += load(counts + r);
  return rows;
}
TUTTI_GPU uint64_t rows_from_others(const MoeArgs& args) {
  uint64_t rows = 0;
  TUTTI_NO_UNROLL
  for (uint32_t s = 0; s < args.shape.n_ranks; ++s)
    if (s != args.rank && takes_part(args, s)) rows += load(counts_of(args, s) + args.rank);
  return rows;
}

// By one thread, before the last barrier: then peers may change what is read here.
TUTTI_GPU void count_dispatch(const MoeArgs& args) {
  const MoeShape& shape = args.shape;
  MoeTotals* const sum = args.own.sum;
  MoeTotals* const shown = args.own.shown;
  const uint32_t* const counts = counts_of(args, args.rank);
  const uint64_t row = shape.row_bytes + shape.scale_bytes;
  const uint64_t sent = rows_to_others(args);
  const uint64_t from_all = rows_from_others(args) + load(counts + args.rank);
  const uint64_t kept = load(args.own.skips) != 0 ? 0 : load(args.own.by_rank + 4 * args.rank + 3);
  plus(&sum->dispatches, &shown->dispatches, 1);
  plus(&sum->dispatch_rows, &shown->dispatch_rows, sent);
  plus(&sum->dispatch_payload, &shown->dispatch_payload, sent * row);
  // All others read where the tokens go, and number and weight of what comes to them.
  const uint64_t where = uint64_t{args.tokens} * shape.max_top_k * sizeof(uint32_t);
  plus(&sum->dispatch_metadata, &shown->dispatch_metadata,
       where * (args.team.n_ranks - 1) + sent * sizeof(Vec8));
  const uint64_t staged = load(counts + moe_sent_column(shape.n_ranks));
  plus(&sum->dispatch_copies, &shown->dispatch_copies,
       staged * (shape.hidden * 2 + row) + (kept == 0 ? 0 : from_all * row) + kept * row);
  plus(&sum->received_rows, &shown->received_rows, kept);
  const bool drops = load(args.own.skips) == 0;
  plus(&sum->dropped_rows, &shown->dropped_rows,
       drops ? load(args.own.by_rank + 4 * args.rank + 1) : 0);
  plus(&sum->masked_pairs, &shown->masked_pairs, load(counts + moe_masked_column(shape.n_ranks)));
}
TUTTI_GPU void end_dispatch(const MoeArgs& args) {
  const uint64_t ended = load(args.own.calls + 1) + 1;
  store(args.own.calls + 1, ended);
  fence<Scope::kSystem>();  // the report, and what is counted, before it
  store_volatile(&args.own.report->ended, ended);
}

TUTTI_GPU bool receive(const MoeArgs& args, RankBarrier& barrier, MoeShared& shared) {
  const Rounds rounds = rounds_of(args, args.shape.dispatch_tokens);
  const bool leads = block_index().x == 0 && thread_index().x == 0;
  const bool skips = load(args.own.skips) != 0;
  if (leads) count_dispatch(args);
  TUTTI_NO_UNROLL
  for (uint32_t round = 0; round < rounds.count && !skips; ++round) {
    if (round + 1 < rounds.count) stage_round(args, round + 1, shared);
    receive_round(args, rounds, round, shared);
    if (round + 1 < rounds.count && !barrier.pass()) return false;
  }
  if (!barrier.pass()) return false;
  if (leads) end_dispatch(args);
  return true;
}

// --- Combine

TUTTI_GPU void sum_round(const MoeArgs& args, Rounds rounds, uint32_t round, MoeShared& shared) {
  const MoeShape& shape = args.shape;
  MoePlaces& places = shared.of_warp[warp_id()];
  for_tokens(args, rounds, round, [&](uint32_t source, uint32_t token, uint32_t index) {
    const uint64_t ranks = ranks_of(args, where_of(args, source, token));
    const uint64_t own = uint64_t{1} << args.rank;
    if ((ranks & own) == 0) return;
    const uint32_t n = find_places(args, source, token, places);
    std::byte* const to = staged_sum(args, source, round, index, ones_of(ranks & (own - 1)));
    stage_sum({.rows = args.user.computed,
               .row_bytes = shape.hidden * 2,
               .places = &places,
               .n = n,
               .weighted = shape.rank_major == 0},
              to, shape.sums_float != 0);
  });
}
// To the output, from this rank's own area.
TUTTI_GPU void gather_round(const MoeArgs& args, Rounds rounds, uint32_t round) {
  const MoeShape& shape = args.shape;
  const Tokens part = round_of(share_of(args.tokens), round, rounds.tokens);
  TUTTI_NO_UNROLL
  for (uint32_t t = part.begin + warp_id(); t < part.end; t += block_warps()) {
    const uint64_t ranks = ranks_of(args, where_of(args, args.rank, t));
    const StagedSum sum = {staged_sum(args, args.rank, round, t - part.begin, 0),
                           shape.partial_bytes, ones_of(ranks)};
    std::byte* const to = args.user.output + uint64_t{t} * shape.hidden * 2;
    if (shape.sums_float != 0) {
      gather_row<true>(sum, to, shape.hidden * 2);
    } else {
      gather_row<false>(sum, to, shape.hidden * 2);
    }
  }
}

TUTTI_GPU void count_combine(const MoeArgs& args) {
  const MoeShape& shape = args.shape;
  MoeTotals* const sum = args.own.sum;
  MoeTotals* const shown = args.own.shown;
  const uint64_t row = uint64_t{shape.hidden} * 2;
  const uint64_t partial = uint64_t{shape.hidden} * (shape.sums_float != 0 ? 4 : 2);
  const uint64_t back = rows_from_others(args);
  const uint64_t own = load(counts_of(args, args.rank) + args.rank);
  const uint64_t kept = load(args.own.by_rank + 4 * args.rank + 3);
  plus(&sum->combines, &shown->combines, 1);
  plus(&sum->combine_rows, &shown->combine_rows, back);
  plus(&sum->combine_payload, &shown->combine_payload, back * partial);
  plus(&sum->combine_copies, &shown->combine_copies,
       kept * row + (back + own) * partial + (rows_to_others(args) + own) * partial +
           args.tokens * row);
}

TUTTI_GPU bool gather(const MoeArgs& args, RankBarrier& barrier, MoeShared& shared) {
  const Rounds rounds = rounds_of(args, args.shape.combine_tokens);
  const bool skips = load(args.own.skips) != 0;
  if (block_index().x == 0 && thread_index().x == 0 && !skips) count_combine(args);
  if (!barrier.pass()) return false;
  TUTTI_NO_UNROLL
  for (uint32_t round = 0; round < rounds.count && !skips; ++round) {
    if (round + 1 < rounds.count) sum_round(args, rounds, round + 1, shared);
    gather_round(args, rounds, round);
    if (!barrier.pass()) return false;
  }
  return rounds.count != 0 && !skips ? true : barrier.pass();
}

}  // namespace tutti::gpu

TUTTI_KERNEL_BOUNDS(tutti_moe_route, tutti::gpu::MoeArgs, tutti::gpu::kMostThreads, 1) {
  tutti::gpu::watched_launch(args.team, [&](tutti::gpu::RankBarrier&) {
    tutti::gpu::route(args);
    return true;
  });
}
TUTTI_KERNEL_BOUNDS(tutti_moe_stage, tutti::gpu::MoeArgs, tutti::gpu::kMostThreads, 1) {
  TUTTI_SHARED(tutti::gpu::MoeShared, shared);
  tutti::gpu::watched_launch(args.team, [&](tutti::gpu::RankBarrier&) {
    tutti::gpu::finish_numbers(args);
    tutti::gpu::stage_round(args, 0, shared);
    return true;
  });
}
TUTTI_KERNEL_BOUNDS(tutti_moe_lay_out, tutti::gpu::MoeArgs, tutti::gpu::kMostThreads, 1) {
  tutti::gpu::watched_launch(args.team, [&](tutti::gpu::RankBarrier& barrier) {
    if (!barrier.pass()) return false;
    tutti::gpu::lay_out(args);
    return true;
  });
}
TUTTI_KERNEL_BOUNDS(tutti_moe_receive, tutti::gpu::MoeArgs, tutti::gpu::kMostThreads, 1) {
  TUTTI_SHARED(tutti::gpu::MoeShared, shared);
  tutti::gpu::watched_launch(args.team, [&](tutti::gpu::RankBarrier& barrier) {
    return tutti::gpu::receive(args, barrier, shared);
  });
}
TUTTI_KERNEL_BOUNDS(tutti_moe_sum, tutti::gpu::MoeArgs, tutti::gpu::kMostThreads, 1) {
  TUTTI_SHARED(tutti::gpu::MoeShared, shared);
  tutti::gpu::watched_launch(args.team, [&](tutti::gpu::RankBarrier&) {
    const tutti::gpu::Rounds rounds = tutti::gpu::rounds_of(args, args.shape.combine_tokens);
    if (tutti::gpu::load(args.own.skips) == 0) tutti::gpu::sum_round(args, rounds, 0, shared);
    return true;
  });
}
TUTTI_KERNEL_BOUNDS(tutti_moe_gather, tutti::gpu::MoeArgs, tutti::gpu::kMostThreads, 1) {
  TUTTI_SHARED(tutti::gpu::MoeShared, shared);
  tutti::gpu::watched_launch(args.team, [&](tutti::gpu::RankBarrier& barrier) {
    return tutti::gpu::gather(args, barrier, shared);
  });
}
