// SPDX-License-Identifier: Apache-2.0
// Reads what kernels report, and sets the abort word.
#include "src/exec/cuda/launch_watch.h"

#include <atomic>

namespace tutti::exec {
namespace {

constexpr size_t kAbort = 0;
constexpr size_t kFailure = 128;
constexpr size_t kRecord = 256;
constexpr size_t kReports = 384;
static_assert(kRecord + sizeof(gpu::LaunchRecord) <= kReports);

constexpr uint64_t kRankMask = 0xffffff;

// Acquire: pairs with the fence of note_end() (lane.h).
uint64_t acquire(uint64_t& word) noexcept {
  return std::atomic_ref<uint64_t>(word).load(std::memory_order_acquire);
}
// Words that say nothing of other memory.
uint64_t relaxed(uint64_t& word) noexcept {
  return std::atomic_ref<uint64_t>(word).load(std::memory_order_relaxed);
}

// As kernels pack it: 24 bits, all of them set where there is no rank.
int32_t rank_in(uint64_t word) noexcept {
  const uint64_t rank = word >> 32 & kRankMask;
  return rank == kRankMask ? -1 : static_cast<int32_t>(rank);
}

bool names_a_rank(gpu::WaitFor what) noexcept {
  return what == gpu::WaitFor::kMessage || what == gpu::WaitFor::kSlot ||
         what == gpu::WaitFor::kBarrier;
}

}  // namespace

LaunchWatch::LaunchWatch(unsigned most_blocks, gpu::LaunchState* state)
    : most_blocks_(most_blocks),
      state_(state),
      memory_(kReports + size_t{most_blocks} * sizeof(uint64_t)) {}

gpu::Watch LaunchWatch::watch(uint64_t call, uint64_t number) const noexcept {
  return {.abort = device<uint32_t>(kAbort),
          .failure = device<uint64_t>(kFailure),
          .reports = device<uint64_t>(kReports),
          .record = device<gpu::LaunchRecord>(kRecord),
          .state = state_,
          .call = call,
          .number = number};
}

DeviceCounts LaunchWatch::counts() const noexcept {
  gpu::LaunchRecord& record = *host<gpu::LaunchRecord>(kRecord);
  DeviceCounts counts;
  // In this order: `begun` is never below `ended`.
  counts.done = acquire(record.last_number);
  counts.ended = acquire(record.ended);
  counts.begun = relaxed(record.begun);
  counts.call = relaxed(record.call);
  return counts;
}

uint64_t LaunchWatch::last_number() const noexcept {
  return acquire(host<gpu::LaunchRecord>(kRecord)->last_number);
}

bool LaunchWatch::running() const noexcept {
  const DeviceCounts now = counts();
  return now.begun != now.ended;
}

std::optional<DeviceWaiting> LaunchWatch::report(unsigned block) const noexcept {
  const uint64_t word = relaxed(host<uint64_t>(kReports)[block]);
  const auto what = static_cast<gpu::WaitFor>(word >> 56);
  if (!names_a_rank(what)) return std::nullopt;
  return DeviceWaiting{what, rank_in(word), static_cast<uint32_t>(word)};
}

std::optional<DeviceWaiting> LaunchWatch::waiting() const noexcept {
  for (unsigned block = 0; block < most_blocks_; ++block) {
    if (const auto found = report(block)) return found;
  }
  return std::nullopt;
}

bool LaunchWatch::waits_for(int rank) const noexcept {
  for (unsigned block = 0; block < most_blocks_; ++block) {
    const auto found = report(block);
    if (found && found->rank == rank) return true;
  }
  return false;
}

std::optional<DeviceFailure> LaunchWatch::failure() const noexcept {
  const uint64_t word = relaxed(*host<uint64_t>(kFailure));
  const auto what = static_cast<gpu::Failure>(word >> 56);
  if (what == gpu::Failure::kNone) return std::nullopt;
  return DeviceFailure{what, rank_in(word), static_cast<uint32_t>(word)};
}

void LaunchWatch::abort() const noexcept {
  // Relaxed: kernels read nothing else because of it.
  std::atomic_ref<uint32_t>(*host<uint32_t>(kAbort)).store(1, std::memory_order_relaxed);
}

}  // namespace tutti::exec
