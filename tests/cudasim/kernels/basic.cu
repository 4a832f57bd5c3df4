// SPDX-License-Identifier: Apache-2.0
// Kernels that are right, for the simulator's own tests.
#include "tests/cudasim/kernels/basic.h"
#include "tests/cudasim/kernels/message.h"

using namespace tutti::gpu;  // NOLINT(google-build-using-namespace): kernels are in no namespace

TUTTI_KERNEL(test_fill, FillArgs) {
  const uint32_t all = grid_blocks() * block_threads();
  for (uint64_t i = block_index().x * block_threads() + thread_index().x; i < args.count; i += all)
    store(args.to + i, args.value + static_cast<uint32_t>(i));
}

TUTTI_KERNEL_BOUNDS(test_bounded, FillArgs, 64, 1) { store(args.to, args.value); }

// Sums the block's values by shared memory, one value per thread.
TUTTI_KERNEL(test_block_sum, SumArgs) {
  TUTTI_SHARED(uint32_t, total);
  TUTTI_SHARED(WarpSums, sums);
  auto* const dynamic = static_cast<uint32_t*>(shared_arena());
  const uint32_t me = thread_index().x;
  dynamic[me] = load(args.from + block_index().x * block_threads() + me);
  block_barrier();
  uint32_t value = dynamic[block_threads() - 1 - me];
  for (uint32_t step = kWarpThreads / 2; step > 0; step /= 2) value += shuffle_down(value, step);
  if (lane_id() == 0) sums.of[warp_id()] = value;
  block_barrier();
  if (me == 0) {
    total = 0;
    for (uint32_t w = 0; w < block_threads() / kWarpThreads; ++w) total += sums.of[w];
  }
  block_barrier();
  if (me == block_threads() - 1) store(args.to + block_index().x, total);
}

TUTTI_KERNEL(test_votes, SumArgs) {
  const uint32_t me = thread_index().x;
  const uint32_t odd = ballot(me % 2 == 1);
  const bool any = warp_any(me == 3);
  const bool all = warp_all(me < 64);
  const uint32_t swapped = shuffle_xor(me, 1);
  const uint32_t first = shuffle(me, 0);
  warp_barrier();
  const bool some = block_barrier_or(me == 5);
  store(args.to + me, odd ^ (any ? 1U : 0U) ^ (all ? 2U : 0U) ^ swapped ^ first ^ (some ? 4U : 0U));
}

// Every thread adds; CAS makes the largest thread number win.
TUTTI_KERNEL(test_atomics, SumArgs) {
  const uint32_t me = block_index().x * block_threads() + thread_index().x;
  atomic_add<Scope::kGpu, Order::kRelaxed>(args.to, 1U);
  uint32_t seen = load_relaxed<Scope::kGpu>(args.to + 1);
  while (seen < me) {
    const uint32_t was = atomic_cas<Scope::kGpu, Order::kAcqRel>(args.to + 1, seen, me);
    if (was == seen) break;
    seen = was;
  }
}

TUTTI_KERNEL(test_message, MessageArgs) { exchange<Mistake::kNone>(args); }
TUTTI_KERNEL(test_fenced_message, MessageArgs) { exchange<Mistake::kNoneWithFence>(args); }

// A grid barrier by a counter.
TUTTI_KERNEL(test_grid_barrier, MessageArgs) {
  const uint32_t me = thread_index().x;
  for (uint32_t round = 1; round <= args.rounds; ++round) {
    if (me == 0) store(args.data + block_index().x, round * 100 + block_index().x);
    block_barrier();
    if (me == 0) {
      atomic_add<Scope::kGpu, Order::kAcqRel>(args.flag, 1U);
      while (load_acquire<Scope::kGpu>(args.flag) < round * 2 * grid_blocks() - grid_blocks())
        if (load_volatile(args.abort) != 0) break;
    }
    block_barrier();
    const uint32_t next = (block_index().x + 1) % grid_blocks();
    if (me == 7 && load(args.data + next) != round * 100 + next) store(args.wrong, round);
    block_barrier();
    if (me == 0) {
      atomic_add<Scope::kGpu, Order::kAcqRel>(args.flag, 1U);
      while (load_acquire<Scope::kGpu>(args.flag) < round * 2 * grid_blocks())
        if (load_volatile(args.abort) != 0) break;
    }
    block_barrier();
  }
}

// Returns false when it is told to stop.
TUTTI_GPU bool receive_line(const LineArgs& args, uint32_t round, Vec16* line) {
  do {
    if (load_volatile(args.abort) != 0) return false;
    *line = load_line(args.from + lane_id());
  } while (warp_any(lane_id() % 8 == 7 && line->w < round));
  return true;
}

// LL128 there and back: 120 bytes of data and 8 of flag in each line of 128; one warp each.
TUTTI_KERNEL(test_lines, LineArgs) {
  const uint32_t lane = lane_id();
  Vec16 got{};
  for (uint32_t round = 1; round <= args.rounds; ++round) {
    const Vec16 line{round + lane, round, round * 3 + lane, round};
    if (args.writes != 0) store_line(args.to + lane, line);
    if (!receive_line(args, round, &got)) return;
    if (got.x != line.x || got.y != line.y || got.z != line.z || got.w != line.w)
      store(args.wrong, round);
    if (args.writes == 0) store_line(args.to + lane, line);
  }
}

TUTTI_KERNEL(test_multimem, MultimemArgs) {
  const uint32_t me = thread_index().x;
  const Vec16 sum = multimem_load_reduce<tutti::DType::kFloat32, tutti::Op::kSum>(args.from + me);
  store(args.out + me, sum);
  if (args.store != 0) multimem_store(args.to + me, sum);
  block_barrier();
  if (me == 0) multimem_add_release(args.counter, 1);
}

TUTTI_KERNEL(test_wait, WaitArgs) {
  while (load_acquire<Scope::kSystem>(args.flag) < args.value) {
  }
  store_release<Scope::kSystem>(args.answer, args.value);
}

TUTTI_KERNEL(test_sleep, WaitArgs) {
  const uint64_t until = clock_ns() + 1'000'000;
  while (clock_ns() < until) nano_sleep(1000);
  store_release<Scope::kSystem>(args.answer, args.value);
}
