// SPDX-License-Identifier: Apache-2.0
// Kernels that are wrong, each in one way that the simulator must find.
#include "tests/cudasim/kernels/basic.h"
#include "tests/cudasim/kernels/message.h"

using namespace tutti::gpu;  // NOLINT(google-build-using-namespace): kernels are in no namespace

TUTTI_KERNEL(bug_out_of_bounds, FillArgs) {
  store(args.to + block_index().x * block_threads() + thread_index().x, args.value);
}

TUTTI_KERNEL(bug_misaligned, FillArgs) {
  store(reinterpret_cast<Vec16*>(args.to + thread_index().x), Vec16{1, 2, 3, 4});
}

// Half of the block waits at a barrier that the others never reach.
TUTTI_KERNEL(bug_divergent_barrier, FillArgs) {
  if (thread_index().x < block_threads() / 2) {
    block_barrier();
    store(args.to, args.value);
  } else {
    block_barrier();
  }
}

TUTTI_KERNEL(bug_diverged_warp, FillArgs) {
  if (lane_id() != 5) store(args.to + thread_index().x, shuffle(args.value, 0));
}

TUTTI_KERNEL(bug_weak_spin, WaitArgs) {
  while (load(args.flag) < args.value) {
  }
}

// Waits for ever, without asking to be let off.
TUTTI_KERNEL(bug_lost_signal, WaitArgs) {
  if (thread_index().x == 0)
    while (load_acquire<Scope::kSystem>(args.flag) < args.value) {
    }
  block_barrier();
}

// Computes for ever and never touches memory.
TUTTI_KERNEL(bug_endless, WaitArgs) {
  volatile uint32_t turns = 0;
  while (args.value != 0) turns = turns + 1;
}

TUTTI_KERNEL(bug_trap, FillArgs) {
  if (thread_index().x == 9) trap();
  store(args.to + thread_index().x, args.value);
}

TUTTI_KERNEL(bug_stack, FillArgs) {
  volatile uint8_t large[128 << 10];
  for (uint32_t i = 0; i < sizeof(large); i += 64) large[i] = static_cast<uint8_t>(i);
  store(args.to, uint32_t{large[128]});
}

// Between writing and reading shared memory.
TUTTI_KERNEL(bug_missing_barrier, SumArgs) {
  TUTTI_SHARED(WarpSums, sums);
  const uint32_t me = thread_index().x;
  if (lane_id() == 0) sums.of[warp_id()] = me;
  if (me == 0) {
    uint32_t sum = 0;
    for (uint32_t w = 0; w < block_threads() / kWarpThreads; ++w) sum += sums.of[w];
    store(args.to, sum);
  }
}

// The flag is not a release: it may be seen before the data.
TUTTI_KERNEL(bug_missing_release, MessageArgs) { exchange<Mistake::kNoRelease>(args); }
// The data may be read before the flag.
TUTTI_KERNEL(bug_missing_acquire, MessageArgs) { exchange<Mistake::kNoAcquire>(args); }
// Orders for this GPU what another GPU reads.
TUTTI_KERNEL(bug_narrow_fence, MessageArgs) { exchange<Mistake::kNarrowFence>(args); }

// The release is for this GPU, the reader on another one.
TUTTI_KERNEL(bug_narrow_scope, WaitArgs) {
  store(args.answer, args.value);
  store_release<Scope::kGpu>(args.flag, args.value);
}

// A line that is not one: lanes are 32 bytes apart.
TUTTI_KERNEL(bug_torn_line, LineArgs) { store_line(args.to + 2 * lane_id(), Vec16{1, 2, 3, 4}); }
