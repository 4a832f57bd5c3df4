// SPDX-License-Identifier: Apache-2.0
// What every watched kernel tells the host of its launch as a whole (LaunchRecord), and how its
// blocks give up together.
#pragma once

#include <cstdint>

#include "src/kernels/cuda/primitives.h"
#include "src/kernels/cuda/report.h"

namespace tutti::gpu {

// By one thread of the launch.
TUTTI_GPU void note_begin(const Watch& watch) {
  // The launch before has written it: the end of a kernel orders that.
  const uint64_t n = load_relaxed<Scope::kGpu>(&watch.state->launches) + 1;
  store_relaxed<Scope::kGpu>(&watch.state->launches, n);
  store_volatile(&watch.record->call, watch.call);
  store_volatile(&watch.record->begun, n);
}
// By one thread, which has acquired what every block of the launch released when it ended. So the
// fence releases, with the stores behind it, what all of them have read and written. Pairs with the
// host's acquire (launch_watch.cc).
TUTTI_GPU void note_end(const Watch& watch) {
  const uint64_t n = load_relaxed<Scope::kGpu>(&watch.state->launches);
  fence<Scope::kSystem>();
  if (watch.number != 0) store_volatile(&watch.record->last_number, watch.number);
  store_volatile(&watch.record->ended, n);
}

// By one thread of each block, after a barrier of the block: it has ended its work. True in the
// last one, which goes on to note_end().
TUTTI_GPU bool note_block_end(const Watch& watch, uint32_t n_blocks) {
  store_volatile(watch.reports + block_index().x, make_report(WaitFor::kFinished, 0, 0));
  // Acquires what the other blocks released here, so the last one can say for all of them that the
  // launch has ended.
  const uint32_t before = atomic_add<Scope::kGpu, Order::kAcqRel>(&watch.state->finished, 1u);
  if (before + 1 != n_blocks) return false;
  store_relaxed<Scope::kGpu>(&watch.state->finished, 0u);  // the next launch reads it
  return true;
}

TUTTI_GPU void give_up(const Watch& watch, Failure what, int32_t rank, uint32_t got) {
  // The first that stops says why; the word is the host's.
  if (atomic_exchange<Scope::kGpu, Order::kRelaxed>(&watch.state->stopped, 1u) != 0) return;
  store_volatile(watch.failure, make_failure(what, rank, got));
}
// Some block of this launch, or of one before, has given up.
TUTTI_GPU bool has_stopped(const Watch& watch) {
  return load_relaxed<Scope::kGpu>(&watch.state->stopped) != 0;
}

}  // namespace tutti::gpu
