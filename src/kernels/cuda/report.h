// SPDX-License-Identifier: Apache-2.0
// What kernels tell the host while they run: whom a block waits for, and why it gave up.
#pragma once

#include <cstdint>

namespace tutti::gpu {

// {what:8 | rank:24 | place:32}, one word per block, relaxed, in memory that the host reads. Set
// when a wait takes longer than kLongPolls polls, 0 when it has ended.
enum class WaitFor : uint32_t {
  kNothing = 0,
  kMessage = 1,   // from the rank; place: the step
  kSlot = 2,      // a free slot towards the rank; place: the step
  kLane = 3,      // a step of another lane of this rank, whose number stands for the rank
  kBarrier = 4,   // the rank's block; place: the block
  kSignal = 5,    // a signal; place: its number within the launch
  kFinished = 6,  // the block has ended its work
};
constexpr uint64_t make_report(WaitFor what, int32_t rank, uint32_t place) noexcept {
  return static_cast<uint64_t>(what) << 56 |
         (static_cast<uint64_t>(static_cast<uint32_t>(rank)) & 0xffffffu) << 32 | place;
}

// {what:8 | rank:24 | got:32}, one word per launch, written by the block that finds it first; then
// all end.
enum class Failure : uint32_t {
  kNone = 0,
  kAborted = 1,    // the abort flag was set while the block waited for `rank`
  kMismatch = 2,   // a message from `rank` has another signature, `got`, or another length
  kReference = 3,  // a message from `rank` refers to bytes that a GPU can't reach; `got`: its kind
};
constexpr uint64_t make_failure(Failure what, int32_t rank, uint32_t got) noexcept {
  return static_cast<uint64_t>(what) << 56 |
         (static_cast<uint64_t>(static_cast<uint32_t>(rank)) & 0xffffffu) << 32 | got;
}

// How far the launches are that are watched together, which run one after the other. In memory that
// the host reads; zero at first. One thread writes at a time (the first block's at the beginning of
// a launch, the last one's at its end), so plain stores do: nothing is read, changed and written
// back here.
struct LaunchRecord {
  // Relaxed: a launch does not wait until the host can see them. `ended` covers them.
  uint64_t call;   // Watch::call of the launch that began last
  uint64_t begun;  // launches that have begun
  // Released at system scope, after all blocks: who acquires them sees the results, and that
  // nothing is read any more.
  uint64_t ended;        // launches that have ended
  uint64_t last_number;  // highest Watch::number of those
};

// What launches hand on to each other, in device memory; zero at first.
struct LaunchState {
  uint64_t launches;  // that have begun
  uint32_t finished;  // blocks of the running launch that have ended
  uint32_t stopped;   // 1: a block has failed, so all end, in this launch and in all later ones
};

// How a kernel is watched.
struct Watch {
  const uint32_t* abort = nullptr;  // not 0: end at once; written by the host
  uint64_t* failure = nullptr;      // one word, 0 at first
  uint64_t* reports = nullptr;      // one per block
  // Of tutti_wait only the state.
  LaunchRecord* record = nullptr;
  LaunchState* state = nullptr;
  uint64_t call = 0;    // for `record`
  uint64_t number = 0;  // rises from launch to launch; 0: part of a graph
};

// A wait looks for the abort flag once in so many polls. kLongPolls is a multiple of it.
inline constexpr uint32_t kPollsPerLook = 128;
inline constexpr uint32_t kPauseNs = 200;

}  // namespace tutti::gpu
