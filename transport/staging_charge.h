// SPDX-License-Identifier: Apache-2.0
// The memory of one connection on the account of the rank that sends over it, its staging slots
// apart.
#pragma once

#include <cstddef>
#include <string>

#include "src/base/memory_budget.h"
#include "transport/fifo.h"

namespace tutti::transport {

class StagingCharge {
 public:
  // Throws SystemError above the memory cap, and charges nothing. The budget must outlive it.
  StagingCharge(MemoryBudget& budget, const FifoLayout& layout, int to_rank);

  // Frees the pages of the staging slots at `slots` by madvise(advice): they read as zero until
  // they are written again. Returns their bytes; 0 when they had gone already, or the kernel
  // refuses.
  size_t rest(std::byte* slots, int advice) noexcept;
  void resume();  // throws as the constructor

 private:
  std::string purpose() const { return "a connection to rank " + std::to_string(to_rank_); }

  MemoryBudget* budget_;
  size_t slot_bytes_;
  int to_rank_;
  MemoryCharge lines_;
  MemoryCharge slots_;
};

}  // namespace tutti::transport
