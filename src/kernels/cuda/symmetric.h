// SPDX-License-Identifier: Apache-2.0
// What the kernels on symmetric memory share: waiting, the barrier between ranks, a block's part.
#pragma once

#include <cstddef>
#include <cstdint>

#include "src/kernels/cuda/launch.h"
#include "src/kernels/cuda/reduce_copy.h"
#include "src/kernels/cuda/symmetric_args.h"

namespace tutti::gpu {

// A wait of one thread. `again()` after a poll that found nothing; false: the launch is aborted.
class WatchedWait {
 public:
  TUTTI_GPU WatchedWait(const Watch& watch, WaitFor what, int32_t rank, uint32_t place)
      : watch_(watch), report_(make_report(what, rank, place)), rank_(rank) {}
  TUTTI_GPU bool again() {
    ++polls_;
    if (polls_ % kPollsPerLook != 0) return true;
    if (load_volatile(watch_.abort) != 0) {
      give_up(watch_, Failure::kAborted, rank_, 0);
      return false;
    }
    if (has_stopped(watch_)) return false;
    if (polls_ < kLongPolls) return true;
    // Threads of the block share its report. Whoever has it keeps it, so that it does not look as
    // if something moved; when it goes, another one that waits takes it.
    if (load_volatile(report()) == 0) store_volatile(report(), report_);
    nano_sleep(kPauseNs);
    return true;
  }
  TUTTI_GPU void end() const {
    if (polls_ >= kLongPolls && load_volatile(report()) == report_)
      store_volatile(report(), uint64_t{0});
  }

 private:
  TUTTI_GPU uint64_t* report() const { return watch_.reports + block_index().x; }
  const Watch& watch_;
  const uint64_t report_;
  const int32_t rank_;
  uint32_t polls_ = 0;
};

// Has a counter modulo 2^32 come to `wanted`?
TUTTI_GPU bool reached(uint32_t counter, uint32_t wanted) {
  return static_cast<int32_t>(counter - wanted) >= 0;
}

// Rank r's block, at the first barrier of a launch: has it come with the same call?
TUTTI_GPU bool same_call(const SymmetricTeam& team, uint32_t r, uint64_t flag) {
  const auto signature = static_cast<uint32_t>(flag >> 32);
  if (signature == team.signature) return true;
  give_up(team.watch, Failure::kMismatch, static_cast<int32_t>(r), signature);
  return false;
}

// The barriers of this block of every rank, in one launch. All threads of the block pass the same.
class RankBarrier {
 public:
  TUTTI_GPU explicit RankBarrier(const SymmetricTeam& team)
      : team_(team),
        first_(team.n_ranks == 0 ? 0 : load(team.epochs + block_index().x)),
        epoch_(first_) {}

  // What any thread of these blocks did before, all see after it. False: the launch has failed. Of
  // no ranks it is a barrier of this block.
  TUTTI_GPU bool pass() {
    ++epoch_;
    bool failed = false;
    block_barrier();
    for (uint32_t r = thread_index().x; r < team_.n_ranks; r += block_threads()) {
      if (!meet(r)) failed = true;
    }
    return !block_barrier_or(failed);
  }
  // After the last one.
  TUTTI_GPU void keep() const {
    if (thread_index().x == 0 && team_.n_ranks != 0) store(team_.epochs + block_index().x, epoch_);
  }

 private:
  TUTTI_GPU bool meet(uint32_t r) const {
    const uint32_t row = block_index().x * team_.n_ranks;
    // Releases what the block did before its barrier; pairs with the acquire of rank r below.
    store_release<Scope::kSystem>(team_.flags[r] + row + team_.rank,
                                  uint64_t{team_.signature} << 32 | epoch_);
    const uint64_t* theirs = team_.flags[team_.rank] + row + r;
    WatchedWait wait(team_.watch, WaitFor::kBarrier, static_cast<int32_t>(r), block_index().x);
    uint64_t flag = load_acquire<Scope::kSystem>(theirs);
    while (!reached(static_cast<uint32_t>(flag), epoch_)) {
      if (!wait.again()) return false;
      flag = load_acquire<Scope::kSystem>(theirs);
    }
    wait.end();
    // One that is ahead has found the same call here, or it would not be; its signature may be that
    // of the next launch already.
    const bool ahead = static_cast<uint32_t>(flag) != epoch_;
    return epoch_ != first_ + 1 || ahead || same_call(team_, r, flag);
  }

  const SymmetricTeam& team_;
  const uint32_t first_;
  uint32_t epoch_;
};

// A launch on symmetric memory: body(barrier) passes its barriers and returns false when one has
// failed. A launch after one that has failed ends at once. Of no ranks it is not watched.
template <class Body>
TUTTI_GPU void watched_launch(const SymmetricTeam& team, Body body) {
  const bool leads = thread_index().x == 0 && team.n_ranks != 0;
  if (leads) {
    store_volatile(team.watch.reports + block_index().x, uint64_t{0});
    if (block_index().x == 0) note_begin(team.watch);
  }
  if (!block_barrier_or(leads && has_stopped(team.watch))) {
    RankBarrier barrier(team);
    if (body(barrier)) barrier.keep();
  }
  block_barrier();
  if (leads && note_block_end(team.watch, grid_blocks())) note_end(team.watch);
}

// This block's part of a range: a multiple of 512 bytes but for the last, the same in every kernel.
struct Part {
  uint64_t begin;
  uint64_t bytes;
};
TUTTI_GPU Part part_of(uint64_t bytes) {
  constexpr uint64_t kAlign = 512;
  const uint64_t rows = (bytes + kAlign - 1) / kAlign;
  const uint64_t each = (rows + grid_blocks() - 1) / grid_blocks() * kAlign;
  const uint64_t begin = each * block_index().x;
  if (begin >= bytes) return {0, 0};
  return {begin, bytes - begin < each ? bytes - begin : each};
}
TUTTI_GPU Team block_team() { return {thread_index().x, block_threads()}; }

// A block's part of a Move, in shared memory: by all threads, then a barrier.
TUTTI_GPU void set_operands(Move& part, const std::byte* const* sources, uint32_t n_sources,
                            std::byte* const* sinks, uint32_t n_sinks, uint64_t begin) {
  for (uint32_t i = thread_index().x; i < n_sources + n_sinks; i += block_threads()) {
    if (i < n_sources) {
      part.sources[i] = sources[i] + begin;
    } else {
      part.sinks[i - n_sources] = sinks[i - n_sources] + begin;
    }
  }
  if (thread_index().x == 0) {
    part.n_sources = n_sources;
    part.n_sinks = n_sinks;
  }
}

}  // namespace tutti::gpu
