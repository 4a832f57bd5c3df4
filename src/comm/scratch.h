// SPDX-License-Identifier: Apache-2.0
// Scratch memory of the operations that run, lent by the process to one communicator after the
// other.
#pragma once

#include <atomic>
#include <cstddef>
#include <cstdint>
#include <memory>

#include "src/base/memory_budget.h"

namespace tutti::comm {

// One block. Exactly one lease holds it, and its budget is charged for it. Another lease may take
// it over while it is not busy.
struct ScratchBlock;

// A communicator's place in the process's pool: needs memory only while an operation runs, keeps
// the block of the last one as long as no other communicator wants it. So communicators that take
// turns share one block, and it counts for the one that used it last.
class ScratchLease {
 public:
  explicit ScratchLease(MemoryBudget& budget) noexcept : budget_(budget) {}
  ~ScratchLease();
  ScratchLease(const ScratchLease&) = delete;
  ScratchLease& operator=(const ScratchLease&) = delete;

  // At least `bytes`, page-aligned, until release(); null for 0. One exchange when the last block
  // is still there and large enough. Throws SystemError above the memory cap.
  std::byte* acquire(size_t bytes);
  void release() noexcept;

  // What a charge for `bytes` of scratch comes to on a communicator with a cap.
  static constexpr size_t charged_bytes(size_t bytes) noexcept { return whole_pages(bytes); }

 private:
  std::byte* acquire_other(size_t bytes);

  MemoryBudget& budget_;
  // Shared with the pool while held, and still here after another lease has taken it over.
  std::shared_ptr<ScratchBlock> block_;
  bool busy_ = false;
};

// Of all leases of the process.
size_t scratch_pool_bytes();

}  // namespace tutti::comm
