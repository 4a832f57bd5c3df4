// SPDX-License-Identifier: Apache-2.0
// From a top-k table to numbers of rows, and from everybody's numbers to the places of rows.
//
// Numbers follow from the order of tokens alone, by counting, without atomics: first within the
// tokens of a block, then over the blocks of a rank, then over ranks.
#pragma once

#include <cstddef>
#include <cstdint>

#include "src/kernels/cuda/moe.h"

namespace tutti::gpu {

// --- tutti_moe_route

struct RoutedPair {
  uint32_t where;
  float weight;
};
// Of experts that a token names twice the first has the sum of the weights, in their order.
TUTTI_GPU RoutedPair route_pair(const MoeArgs& args, uint32_t token, uint32_t j) {
  const auto* const experts =
      reinterpret_cast<const uint64_t*>(args.user.experts) + uint64_t{token} * args.top_k;
  const auto* const weights =
      reinterpret_cast<const uint32_t*>(args.user.weights) + uint64_t{token} * args.top_k;
  const auto weight_of = [&](uint32_t i) {
    return args.user.weights == nullptr ? 1.0F : __builtin_bit_cast(float, load(weights + i));
  };
  const uint64_t expert = load(experts + j);
  if (expert == ~uint64_t{0}) return {kMoeNone, 0.0F};
  if (expert >= args.shape.n_experts) return {kMoeUnknown, 0.0F};
  const uint32_t home = load(args.user.homes + expert);
  if (!moe_goes(home)) return {home, 0.0F};
  float weight = weight_of(j);
  TUTTI_NO_UNROLL
  for (uint32_t i = 0; i < args.top_k; ++i) {
    if (i == j || load(experts + i) != expert) continue;
    if (i < j) return {kMoeNone, 0.0F};
    weight = weight + weight_of(i);
  }
  return {home, weight};
}

TUTTI_GPU void route_pairs(const MoeArgs& args, Tokens share) {
  const uint32_t k = args.shape.max_top_k;
  auto* const where = in_area<uint32_t>(args, args.rank, args.shape.where_at);
  auto* const details = in_area<Vec8>(args, args.rank, args.shape.details_at);
  const uint64_t end = uint64_t{share.end} * k;
  TUTTI_NO_UNROLL
  for (uint64_t i = uint64_t{share.begin} * k + thread_index().x; i < end; i += block_threads()) {
    TUTTI_PROOF_LOOP("counts", 0, 0);
    const auto token = static_cast<uint32_t>(i / k);
    const auto j = static_cast<uint32_t>(i % k);
    const RoutedPair pair =
        j < args.top_k ? route_pair(args, token, j) : RoutedPair{kMoeNone, 0.0F};
    store(where + i, pair.where);
    store(details + i, Vec8{0, __builtin_bit_cast(uint32_t, pair.weight)});
  }
}

// Calls body(where, i) for the pairs of the share, in their order; i: of all pairs of the rank.
template <class Body>
TUTTI_GPU void for_pairs(const MoeArgs& args, Tokens share, Body body) {
  const uint32_t k = args.shape.max_top_k;
  const auto* const where = in_area<const uint32_t>(args, args.rank, args.shape.where_at);
  const uint64_t end = uint64_t{share.end} * k;
  TUTTI_NO_UNROLL
  for (uint64_t i = uint64_t{share.begin} * k; i < end; ++i) {
    TUTTI_PROOF_LOOP("counts", 0, 0);
    body(load(where + i), i);
  }
}
TUTTI_GPU void set_number(const MoeArgs& args, uint64_t pair, uint32_t number) {
  auto* const details = in_area<Vec8>(args, args.rank, args.shape.details_at);
  store(&(details + pair)->x, number);
}

// Rows to a rank. Rank-major their numbers are the pairs'.
TUTTI_GPU uint32_t count_rank(const MoeArgs& args, Tokens share, uint32_t rank) {
  uint32_t rows = 0;
  uint64_t last = ~uint64_t{0};  // token
  for_pairs(args, share, [&](uint32_t where, uint64_t pair) {
    if (!moe_goes(where) || where >> 16 != rank) return;
    const uint64_t token = pair / args.shape.max_top_k;
    rows += token != last ? 1 : 0;
    last = token;
    if (args.shape.rank_major != 0) set_number(args, pair, rows - 1);
  });
  return rows;
}
TUTTI_GPU uint32_t count_slot(const MoeArgs& args, Tokens share, uint32_t slot) {
  uint32_t rows = 0;
  for_pairs(args, share, [&](uint32_t where, uint64_t pair) {
    if (where == slot) set_number(args, pair, rows++);
  });
  return rows;
}
TUTTI_GPU uint32_t count_equal(const MoeArgs& args, Tokens share, uint32_t what) {
  uint32_t pairs = 0;
  for_pairs(args, share, [&](uint32_t where, uint64_t) { pairs += where == what ? 1 : 0; });
  return pairs;
}
TUTTI_GPU uint32_t count_sent(const MoeArgs& args, Tokens share) {
  uint32_t tokens = 0;
  uint64_t last = ~uint64_t{0};
  for_pairs(args, share, [&](uint32_t where, uint64_t pair) {
    if (!moe_goes(where)) return;
    const uint64_t token = pair / args.shape.max_top_k;
    tokens += token != last ? 1 : 0;
    last = token;
  });
  return tokens;
}
// 1 + the first place that is no expert; 0: none.
TUTTI_GPU uint32_t first_unknown(const MoeArgs& args, Tokens share) {
  uint64_t first = 0;
  for_pairs(args, share, [&](uint32_t where, uint64_t pair) {
    if (first == 0 && where == kMoeUnknown) first = pair + 1;
  });
  return static_cast<uint32_t>(first);
}
TUTTI_GPU uint32_t count_column(const MoeArgs& args, Tokens share, uint32_t column) {
  const uint32_t n = args.shape.n_ranks;
  if (column < n) return count_rank(args, share, column);
  if (column == moe_masked_column(n)) return count_equal(args, share, kMoeMasked);
  if (column == moe_unknown_column(n)) return count_equal(args, share, kMoeUnknown);
  if (column == moe_sent_column(n)) return count_sent(args, share);
  return count_slot(args, share, load(args.user.slots + column - moe_first_slot_column(n)));
}

TUTTI_GPU void route(const MoeArgs& args) {
  const Tokens share = share_of(args.tokens);
  const uint32_t block = block_index().x;
  if (block == 0 && thread_index().x == 0) {
    const uint64_t begun = load(args.own.calls) + 1;
    store(args.own.calls, begun);
    store_volatile(&args.own.report->begun, begun);
  }
  route_pairs(args, share);
  block_barrier();
  TUTTI_NO_UNROLL
  for (uint32_t c = thread_index().x; c < args.shape.n_columns; c += block_threads()) {
    TUTTI_PROOF_LOOP("counts", 0, 0);
    store(args.own.chunk_counts + block * args.shape.n_columns + c, count_column(args, share, c));
  }
  if (thread_index().x == 0) store(args.own.unknown + block, first_unknown(args, share));
}

// --- tutti_moe_stage: the numbers

// Adds what the blocks before have counted, and makes the sums of all public.
TUTTI_GPU void add_bases(const MoeArgs& args) {
  const uint32_t n = args.shape.n_columns;
  const uint32_t block = block_index().x;
  const bool last = block + 1 == grid_blocks();
  auto* const counts = in_area<uint32_t>(args, args.rank, args.shape.counts_at);
  TUTTI_NO_UNROLL
  for (uint32_t c = thread_index().x; c < n; c += block_threads()) {
    TUTTI_PROOF_LOOP("counts", 0, 0);
    uint32_t base = 0;
    TUTTI_NO_UNROLL
    for (uint32_t b = 0; b < block; ++b) {
      TUTTI_PROOF_LOOP("counts", 0, 0);
      base += load(args.own.chunk_counts + b * n + c);
    }
    store(args.own.chunk_bases + block * n + c, base);
    if (last) store(counts + c, base + load(args.own.chunk_counts + block * n + c));
  }
  if (last && thread_index().x == 0) store(counts + n, args.tokens);
}
TUTTI_GPU void finish_numbers(const MoeArgs& args) {
  add_bases(args);
  block_barrier();
  const uint32_t k = args.shape.max_top_k;
  const uint32_t n = args.shape.n_ranks;
  const Tokens share = share_of(args.tokens);
  const auto* const where = in_area<const uint32_t>(args, args.rank, args.shape.where_at);
  auto* const details = in_area<Vec8>(args, args.rank, args.shape.details_at);
  const uint32_t* const bases = args.own.chunk_bases + block_index().x * args.shape.n_columns;
  const uint64_t end = uint64_t{share.end} * k;
  TUTTI_NO_UNROLL
  for (uint64_t i = uint64_t{share.begin} * k + thread_index().x; i < end; i += block_threads()) {
    TUTTI_PROOF_LOOP("counts", 0, 0);
    const uint32_t to = load(where + i);
    if (!moe_goes(to)) continue;
    const uint32_t column =
        args.shape.rank_major != 0
            ? to >> 16
            : moe_first_slot_column(n) + args.shape.first_slot[to >> 16] + (to & 0xffffu);
    uint32_t* const number = &(details + i)->x;
    store(number, load(number) + load(bases + column));
  }
}

// --- tutti_moe_lay_out

TUTTI_GPU const uint32_t* counts_of(const MoeArgs& args, uint32_t source) {
  return in_area<const uint32_t>(args, source, args.shape.counts_at);
}
TUTTI_GPU uint32_t blocks_of(const MoeArgs& args, uint32_t rank) {
  if (args.shape.rank_major != 0) return args.shape.n_ranks;
  return args.shape.first_slot[rank + 1] - args.shape.first_slot[rank];
}

TUTTI_GPU void read_tokens(const MoeArgs& args) {
  TUTTI_NO_UNROLL
  for (uint32_t s = thread_index().x; s < args.shape.n_ranks; s += block_threads()) {
    TUTTI_PROOF_LOOP("counts", 0, 0);
    const bool there = takes_part(args, s);
    store(args.own.tokens + s, there ? load(counts_of(args, s) + args.shape.n_columns) : 0);
  }
}

// Expert-major, of one slot: the sums over sources.
TUTTI_GPU void add_slot(const MoeArgs& args, uint32_t slot) {
  const MoeShape& shape = args.shape;
  const uint32_t column = moe_first_slot_column(shape.n_ranks) + slot;
  const uint32_t own_first = shape.first_slot[args.rank];
  const uint32_t own = shape.first_slot[args.rank + 1] - own_first;
  const bool mine = slot >= own_first && slot < own_first + own;
  uint32_t sum = 0;
  TUTTI_NO_UNROLL
  for (uint32_t s = 0; s < shape.n_ranks; ++s) {
    TUTTI_PROOF_LOOP("counts", 0, 0);
    if (s == args.rank) store(args.own.befores + column, sum);
    if (mine) store(args.own.first + uint64_t{s} * own + slot - own_first, sum);
    if (takes_part(args, s)) sum += load(counts_of(args, s) + column);
  }
  store(args.own.sums + column, sum);
}
TUTTI_GPU void add_slots(const MoeArgs& args) {
  if (args.shape.rank_major != 0) return;
  const bool all = args.shape.overflows != 0;
  const uint32_t first = all ? 0 : args.shape.first_slot[args.rank];
  const uint32_t end = args.shape.first_slot[all ? args.shape.n_ranks : args.rank + 1];
  TUTTI_NO_UNROLL
  for (uint32_t slot = first + thread_index().x; slot < end; slot += block_threads()) {
    TUTTI_PROOF_LOOP("counts", 0, 0);
    add_slot(args, slot);
  }
}

// What one rank receives, block by block, as moe::lay_out() says.
class RankLayout {
 public:
  TUTTI_GPU RankLayout(const MoeArgs& args, uint32_t rank)
      : args_(args), rank_(rank), capacity_(load(args.user.capacities + rank)) {}

  TUTTI_GPU void all() {
    const uint32_t n = blocks_of(args_, rank_);
    TUTTI_NO_UNROLL
    for (uint32_t b = 0; b < n; ++b) {
      TUTTI_PROOF_LOOP("counts", 0, 0);
      add(b);
    }
    uint64_t* const to = args_.own.by_rank + 4 * rank_;
    store(to, demand_);
    store(to + 1, dropped_);
    store(to + 2, mine_);
    store(to + 3, received_);
    if (rank_ == args_.rank) store(args_.own.totals, rows_);
  }

 private:
  TUTTI_GPU uint64_t aligned(uint64_t rows) const {
    const uint64_t unit = args_.shape.rank_major != 0 ? 1 : args_.shape.alignment;
    return (rows + unit - 1) / unit * unit;
  }
  TUTTI_GPU uint64_t whole_blocks(uint64_t rows) const {
    const uint64_t unit = args_.shape.rank_major != 0 ? 1 : args_.shape.alignment;
    return rows / unit * unit;
  }
  TUTTI_GPU uint32_t column_of(uint32_t block) const {
    return moe_first_slot_column(args_.shape.n_ranks) + args_.shape.first_slot[rank_] + block;
  }
  TUTTI_GPU uint32_t count_of(uint32_t block) const {
    if (args_.shape.rank_major == 0) return load(args_.own.sums + column_of(block));
    return takes_part(args_, block) ? load(counts_of(args_, block) + rank_) : 0;
  }
  // Of the block's rows those of this rank that are kept begin and end there.
  TUTTI_GPU uint64_t dropped_of_mine(uint32_t block, uint32_t kept) const {
    uint64_t before = 0, own = 0;
    if (args_.shape.rank_major != 0) {
      own = block == args_.rank ? load(counts_of(args_, args_.rank) + rank_) : 0;
    } else {
      before = load(args_.own.befores + column_of(block));
      own = load(counts_of(args_, args_.rank) + column_of(block));
    }
    const uint64_t end = before + own;
    const uint64_t there = before > kept ? before : kept;
    return end > there ? end - there : 0;
  }
  TUTTI_GPU void add(uint32_t block) {
    const uint32_t count = count_of(block);
    demand_ += aligned(count);
    const uint64_t room = capacity_ - rows_;
    uint64_t kept = count;
    if (aligned(count) > room && whole_blocks(room) < count) kept = whole_blocks(room);
    if (rank_ == args_.rank) {
      store(args_.own.counts + block, count);
      store(args_.own.received + block, static_cast<uint32_t>(kept));
      store(args_.own.aligned + block, static_cast<uint32_t>(aligned(kept)));
      store(args_.own.offsets + block, static_cast<uint32_t>(rows_));
    }
    rows_ += aligned(kept);
    received_ += kept;
    dropped_ += count - kept;
    if (args_.shape.overflows != 0) mine_ += dropped_of_mine(block, static_cast<uint32_t>(kept));
  }

  const MoeArgs& args_;
  const uint32_t rank_;
  const uint64_t capacity_;
  uint64_t rows_ = 0, demand_ = 0, received_ = 0, dropped_ = 0, mine_ = 0;
};

// Every rank has all counts, so all come to the same.
struct Verdict {
  uint64_t dropped_by_all;
  uint64_t dropped_of_mine;
  uint64_t overflowed;  // 1 + the first rank with too many rows
  uint64_t demand;      // its
};
TUTTI_GPU Verdict verdict_of(const MoeArgs& args) {
  Verdict verdict = {};
  if (args.shape.overflows == 0) return verdict;
  TUTTI_NO_UNROLL
  for (uint32_t r = 0; r < args.shape.n_ranks; ++r) {
    const uint64_t* const of = args.own.by_rank + 4 * r;
    const uint64_t dropped = load(of + 1);
    verdict.dropped_by_all += dropped;
    verdict.dropped_of_mine += load(of + 2);
    if (dropped == 0 || verdict.overflowed != 0) continue;
    verdict.overflowed = r + 1;
    verdict.demand = load(of);
  }
  return verdict;
}
TUTTI_GPU uint32_t unknown_of(const MoeArgs& args) {
  // Blocks are as many as those of the launch that has routed.
  TUTTI_NO_UNROLL
  for (uint32_t b = 0; b < args.blocks; ++b) {
    const uint32_t first = load(args.own.unknown + b);
    if (first != 0) return first;
  }
  return 0;
}

// By one thread, for the user's kernels and for the host.
TUTTI_GPU void publish(const MoeArgs& args, const Verdict& verdict, bool skips) {
  const uint64_t* const own = args.own.by_rank + 4 * args.rank;
  uint64_t* const totals = args.own.totals;
  if (skips) store(totals, uint64_t{0});
  store(totals + 1, load(own));
  store(totals + 2, load(own + 1));
  store(totals + 3, verdict.dropped_of_mine);
  store(totals + 4, verdict.dropped_by_all);
  store(args.own.skips, skips ? 1u : 0u);
  MoeReport* const report = args.own.report;
  store_volatile(&report->rows, load(totals));
  store_volatile(&report->demand, load(own));
  store_volatile(&report->dropped, load(own + 1));
  store_volatile(&report->dropped_of_mine, verdict.dropped_of_mine);
  store_volatile(&report->dropped_by_all, verdict.dropped_by_all);
  store_volatile(&report->overflowed, verdict.overflowed);
  store_volatile(&report->overflow_demand, verdict.demand);
  store_volatile(&report->unknown, uint64_t{unknown_of(args)});
}

TUTTI_GPU void lay_out(const MoeArgs& args) {
  read_tokens(args);
  add_slots(args);
  block_barrier();
  const bool all = args.shape.overflows != 0;
  const uint32_t n = all ? args.shape.n_ranks : 1;
  TUTTI_NO_UNROLL
  for (uint32_t i = thread_index().x; i < n; i += block_threads()) {
    TUTTI_PROOF_LOOP("counts", 0, 0);
    RankLayout(args, all ? i : args.rank).all();
  }
  block_barrier();
  const Verdict verdict = verdict_of(args);
  const bool skips = verdict.overflowed != 0 && args.shape.reports == 0;
  if (thread_index().x == 0) publish(args, verdict, skips);
  if (!skips) return;
  const uint32_t blocks = blocks_of(args, args.rank);
  TUTTI_NO_UNROLL
  for (uint32_t b = thread_index().x; b < blocks; b += block_threads()) {
    TUTTI_PROOF_LOOP("counts", 0, 0);
    store(args.own.received + b, 0u);
    store(args.own.aligned + b, 0u);
  }
}

}  // namespace tutti::gpu
