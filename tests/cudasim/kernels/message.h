// SPDX-License-Identifier: Apache-2.0
// Two blocks that hand data to and fro by a flag, rightly or with one mistake.
#pragma once

#include "tests/cudasim/kernels/basic.h"

enum class Mistake { kNone, kNoneWithFence, kNoRelease, kNoAcquire, kNarrowFence };

// Returns false when it is told to stop.
template <bool kAcquires>
TUTTI_GPU bool wait_for(const uint32_t* flag, uint32_t value, const uint32_t* abort) {
  using namespace tutti::gpu;  // NOLINT(google-build-using-namespace): within the function
  while ((kAcquires ? load_acquire<Scope::kSystem>(flag) : load_volatile(flag)) != value)
    if (load_volatile(abort) != 0) return false;
  return true;
}

template <Mistake kMistake>
TUTTI_GPU void signal(uint32_t* flag, uint32_t value) {
  using namespace tutti::gpu;  // NOLINT(google-build-using-namespace): within the function
  if constexpr (kMistake == Mistake::kNone || kMistake == Mistake::kNoAcquire) {
    store_release<Scope::kSystem>(flag, value);
  } else {
    if constexpr (kMistake == Mistake::kNoneWithFence) fence<Scope::kSystem>();
    if constexpr (kMistake == Mistake::kNarrowFence) fence<Scope::kGpu>();
    store_volatile(flag, value);
  }
}

// One block writes, the other checks what it reads; all threads of each take part.
template <Mistake kMistake>
TUTTI_GPU void exchange(const MessageArgs& args) {
  using namespace tutti::gpu;  // NOLINT(google-build-using-namespace): within the function
  constexpr bool kAcquires = kMistake != Mistake::kNoAcquire;
  const uint32_t me = thread_index().x;
  for (uint32_t round = 1; round <= args.rounds; ++round) {
    const bool writes = args.writes != 0;
    bool stopped = false;
    if (me == 0 && writes) stopped = !wait_for<true>(args.taken, round - 1, args.abort);
    if (me == 0 && !writes) stopped = !wait_for<kAcquires>(args.flag, round, args.abort);
    if (block_barrier_or(stopped)) return;
    if (writes) store(args.data + me, round * 1000 + me);
    if (!writes && load(args.data + me) != round * 1000 + me) store(args.wrong, round);
    block_barrier();
    if (me == 0 && writes) signal<kMistake>(args.flag, round);
    if (me == 0 && !writes) store_release<Scope::kSystem>(args.taken, round);
  }
}
