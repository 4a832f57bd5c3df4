// SPDX-License-Identifier: Apache-2.0
// The process's blocks of scratch, and how they change hands.
#include "src/comm/scratch.h"

#include <algorithm>
#include <cstdlib>
#include <new>
#include <vector>

#include "src/base/process_local.h"

namespace tutti::comm {

struct ScratchBlock {
  explicit ScratchBlock(size_t size)
      : bytes(size), data(static_cast<std::byte*>(std::aligned_alloc(kPageBytes, size))) {
    if (data == nullptr) throw std::bad_alloc();
  }
  ~ScratchBlock() { std::free(data); }
  ScratchBlock(const ScratchBlock&) = delete;
  ScratchBlock& operator=(const ScratchBlock&) = delete;

  // acquire pairs with the release in give_up(): whoever has claimed it owns all below.
  bool claim() noexcept { return !busy.exchange(true, std::memory_order_acquire); }
  void give_up() noexcept { busy.store(false, std::memory_order_release); }

  std::atomic<bool> busy{true};
  size_t bytes;
  std::byte* data;
  // The budget of its holder; null once dropped. Changes with the pool's lock held. relaxed: a
  // lease looks for its own budget, which only it puts here and only others take away, before
  // give_up().
  std::atomic<MemoryBudget*> payer{nullptr};
  bool paid_by(const MemoryBudget& budget) const noexcept {
    return payer.load(std::memory_order_relaxed) == &budget;
  }
  void charge_to(MemoryBudget* budget) noexcept { payer.store(budget, std::memory_order_relaxed); }
  // What its holder has been charged is credited.
  void credit() const noexcept {
    payer.load(std::memory_order_relaxed)->credit(MemoryUse::kScratch, bytes);
  }
};

namespace {

using BlockPtr = std::shared_ptr<ScratchBlock>;

struct Pool {
  std::vector<BlockPtr> blocks;

  // Takes a claimed block out; its memory goes now, though a former holder may still have it.
  void drop(const BlockPtr& block) noexcept {
    block->credit();
    block->charge_to(nullptr);
    std::free(block->data);
    block->data = nullptr;
    std::erase(blocks, block);
  }
};

void charge(MemoryBudget& budget, size_t bytes) {
  budget.charge(MemoryUse::kScratch, bytes, "scratch memory");
}

// The smallest block that will do and is not in use, claimed; else the largest one, to be replaced;
// null when all are busy. A budget with a cap takes no more than it needs, so that what it is
// charged depends on its own calls alone.
BlockPtr claim_idle(Pool& pool, size_t bytes, bool exactly) {
  std::ranges::sort(pool.blocks, {}, [](const BlockPtr& b) { return b->bytes; });
  for (const BlockPtr& block : pool.blocks) {
    const bool fits = exactly ? block->bytes == bytes : block->bytes >= bytes;
    if (fits && block->claim()) return block;
  }
  for (auto block = pool.blocks.rbegin(); block != pool.blocks.rend(); ++block) {
    if ((*block)->bytes < bytes && (*block)->claim()) return *block;
  }
  return nullptr;
}

BlockPtr take(Pool& pool, MemoryBudget& budget, size_t bytes) {
  BlockPtr idle = claim_idle(pool, bytes, budget.capped());
  if (idle != nullptr && idle->bytes >= bytes) {
    try {
      charge(budget, idle->bytes);
    } catch (...) {
      idle->give_up();
      throw;
    }
    idle->credit();
    idle->charge_to(&budget);
    return idle;
  }
  if (idle != nullptr) pool.drop(idle);
  charge(budget, bytes);
  try {
    pool.blocks.push_back(std::make_shared<ScratchBlock>(bytes));
  } catch (...) {
    budget.credit(MemoryUse::kScratch, bytes);
    throw;
  }
  pool.blocks.back()->charge_to(&budget);
  return pool.blocks.back();
}

}  // namespace

ScratchLease::~ScratchLease() {
  if (block_ == nullptr) return;
  ProcessLocal<Pool>::with([&](Pool& pool) {
    // Nobody takes it over meanwhile: that needs the pool's lock.
    if (block_->paid_by(budget_)) pool.drop(block_);
  });
}

std::byte* ScratchLease::acquire(size_t bytes) {
  if (bytes == 0) return nullptr;
  if (block_ != nullptr && block_->bytes >= bytes && block_->claim()) [[likely]] {
    if (block_->paid_by(budget_)) [[likely]] {
      busy_ = true;
      return block_->data;
    }
    block_->give_up();
  }
  return acquire_other(whole_pages(bytes));
}

std::byte* ScratchLease::acquire_other(size_t bytes) {
  ProcessLocal<Pool>::with([&](Pool& pool) {
    if (block_ != nullptr && block_->paid_by(budget_)) pool.drop(block_);
    block_ = nullptr;
    block_ = take(pool, budget_, bytes);
  });
  busy_ = true;
  return block_->data;
}

void ScratchLease::release() noexcept {
  if (!busy_) return;
  busy_ = false;
  block_->give_up();
}

size_t scratch_pool_bytes() {
  return ProcessLocal<Pool>::with([](Pool& pool) {
    size_t bytes = 0;
    for (const BlockPtr& block : pool.blocks) bytes += block->bytes;
    return bytes;
  });
}

}  // namespace tutti::comm
