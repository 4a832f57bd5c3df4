// SPDX-License-Identifier: Apache-2.0
// Scratch that changes hands, and the memory that all ranks agree a call needs.
#include <atomic>
#include <cstring>
#include <thread>
#include <vector>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "src/base/error.h"
#include "src/comm/agreed_memory.h"
#include "src/comm/scratch.h"
#include "src/exec/program.h"
#include "src/planner/planner.h"

namespace tutti::comm {
namespace {

using testing::HasSubstr;

constexpr size_t kBlock = 8 * kPageBytes;

size_t scratch_of(const MemoryBudget& budget) { return budget.used_bytes(MemoryUse::kScratch); }

TEST(ScratchLease, TakingTurns_OneBlockThatCountsForItsLastUser) {
  MemoryBudget first_budget;
  MemoryBudget second_budget;
  ScratchLease first(first_budget);
  ScratchLease second(second_budget);
  std::byte* const block = first.acquire(kBlock);
  EXPECT_EQ(scratch_of(first_budget), kBlock);
  first.release();
  EXPECT_EQ(scratch_of(first_budget), kBlock) << "kept while nobody wants it";
  EXPECT_EQ(second.acquire(kBlock), block);
  EXPECT_EQ(scratch_of(first_budget), 0u);
  EXPECT_EQ(scratch_of(second_budget), kBlock);
  EXPECT_NE(first.acquire(1), block) << "it is in use";
  EXPECT_EQ(scratch_pool_bytes(), kBlock + kPageBytes);
  first.release();
  second.release();
}

TEST(ScratchLease, SameUserAgain_SameBlockAndNoFurtherCharge) {
  MemoryBudget budget;
  ScratchLease lease(budget);
  std::byte* const block = lease.acquire(kBlock);
  lease.release();
  EXPECT_EQ(lease.acquire(kBlock / 2), block);
  lease.release();
  EXPECT_EQ(budget.peak_bytes(), kBlock);
}

TEST(ScratchLease, LargerNeed_ReplacesTheBlock) {
  MemoryBudget budget;
  {
    ScratchLease lease(budget);
    lease.acquire(kBlock);
    lease.release();
    std::memset(lease.acquire(3 * kBlock), 1, 3 * kBlock);
    EXPECT_EQ(scratch_of(budget), 3 * kBlock);
    EXPECT_EQ(scratch_pool_bytes(), 3 * kBlock);
  }
  EXPECT_EQ(scratch_of(budget), 0u);
  EXPECT_EQ(scratch_pool_bytes(), 0u);
}

TEST(ScratchLease, WithACap_IsChargedWhatItNeedsWhateverLiesIdle) {
  MemoryBudget free_budget;
  MemoryBudget capped(2 * kPageBytes);
  ScratchLease large(free_budget);
  large.acquire(kBlock);
  large.release();
  ScratchLease lease(capped);
  lease.acquire(kPageBytes + 1);
  EXPECT_EQ(scratch_of(capped), 2 * kPageBytes);
  lease.release();
  EXPECT_THROW(lease.acquire(3 * kPageBytes), Error);
  EXPECT_EQ(scratch_of(capped), 0u) << "the smaller block went first";
  EXPECT_NE(lease.acquire(kPageBytes), nullptr);
}

TEST(ScratchLease, ManyThreads_NobodyWritesIntoAnothersBlock) {
  constexpr int kLeases = 6;
  constexpr int kRounds = 3000;
  std::vector<std::thread> threads;
  std::atomic<int> spoilt{0};
  for (int i = 0; i < kLeases; ++i) {
    threads.emplace_back([&, i] {
      MemoryBudget budget;
      ScratchLease lease(budget);
      for (int round = 0; round < kRounds; ++round) {
        const size_t bytes = kPageBytes * static_cast<size_t>(1 + (round + i) % 3);
        std::byte* const block = lease.acquire(bytes);
        const auto mark = static_cast<std::byte>(i + 1);
        block[0] = block[bytes - 1] = mark;
        std::this_thread::yield();
        if (block[0] != mark || block[bytes - 1] != mark) spoilt.fetch_add(1);
        lease.release();
      }
    });
  }
  for (std::thread& thread : threads) thread.join();
  EXPECT_EQ(spoilt.load(), 0);
  EXPECT_EQ(scratch_pool_bytes(), 0u);
}

TEST(Footprint, EveryAlgorithmAndRank_IsThatOfTheCompiledProgram) {
  for (const planner::AlgorithmRow& row : planner::algorithm_table()) {
    for (const int n : {1, 2, 4, 5, 8}) {
      const planner::PlanRequest request{.collective = row.collective, .n_ranks = n};
      if (!row.supports(request)) continue;
      const auto plan = planner::verified_plan(row, request);
      for (int rank = 0; rank < n; ++rank) {
        const exec::Program program = exec::compile(plan, rank);
        const exec::Footprint found = exec::footprint(*plan, rank);
        EXPECT_EQ(found.program_bytes, exec::program_bytes(program)) << row.name << " " << n;
        EXPECT_EQ(found.scratch_chunks, program.scratch_chunks) << row.name;
        EXPECT_EQ(found.tiles_in_flight, program.tiles_in_flight) << row.name;
        EXPECT_EQ(found.most_sources, program.most_sources) << row.name;
        EXPECT_EQ(found.send_peers.size(), program.send_peers.size()) << row.name;
      }
    }
  }
}

class AgreedMemoryTest : public testing::Test {
 protected:
  static constexpr int kRanks = 4;
  static constexpr transport::FifoLayout kLayout{};
  static constexpr size_t kChunk = 4096;

  static std::shared_ptr<const planner::VerifiedPlan> plan(const char* name) {
    const auto* row = planner::find_algorithm(plan::Collective::kAllReduce, name);
    return planner::verified_plan(*row, {.n_ranks = kRanks});
  }
  static std::vector<PeerRecord> records(int capped, uint64_t cap) {
    std::vector<PeerRecord> made(kRanks);
    made[static_cast<size_t>(capped)].memory_cap_bytes = cap;
    return made;
  }
  // What rank 2 holds after the plan.
  static size_t need(const planner::VerifiedPlan& plan) {
    const exec::Footprint found = exec::footprint(plan, 2);
    return found.program_bytes + found.send_peers.size() * kLayout.total_bytes() +
           ScratchLease::charged_bytes(static_cast<size_t>(found.scratch_chunks) *
                                       static_cast<size_t>(found.tiles_in_flight) * kChunk);
  }
};

TEST_F(AgreedMemoryTest, CapOfJustTheNeed_Admits_OneByteLess_RefusesAndNotesNothing) {
  const auto ring = plan("ring");
  const auto two_shot = plan("two_shot");
  AgreedMemory enough(records(2, need(*ring)), kLayout, false);
  EXPECT_FALSE(enough.admit({*ring, 1, kChunk}).has_value());
  EXPECT_FALSE(enough.admit({*ring, 1, kChunk}).has_value()) << "again it needs nothing more";
  const auto refusal = enough.admit({*two_shot, 2, kChunk});
  ASSERT_TRUE(refusal.has_value());
  EXPECT_THAT(*refusal, HasSubstr("rank 2 may hold " + std::to_string(need(*ring)) + " bytes"));
  EXPECT_THAT(*refusal, HasSubstr("TUTTI_MEMORY_CAP"));
  EXPECT_FALSE(enough.admit({*ring, 1, kChunk}).has_value());

  AgreedMemory less(records(2, need(*ring) - 1), kLayout, false);
  EXPECT_TRUE(less.admit({*ring, 1, kChunk}).has_value());
  EXPECT_TRUE(less.admit({*ring, 1, kChunk}).has_value());
}

TEST_F(AgreedMemoryTest, NoCap_IsNotLimited) {
  EXPECT_FALSE(AgreedMemory(records(2, 0), kLayout, false).limited());
  EXPECT_TRUE(AgreedMemory(records(2, 1), kLayout, false).limited());
}

}  // namespace
}  // namespace tutti::comm
