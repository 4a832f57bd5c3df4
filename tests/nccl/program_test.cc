// SPDX-License-Identifier: Apache-2.0
// Programs written for NCCL, over host memory: collectives, groups, sends and receives, several
// communicators, splitting, shrinking, growing and what does not block.
#include <algorithm>
#include <vector>

#include "tests/nccl/support.h"

namespace tutti::nccl_test {
namespace {

using ::testing::Each;
using ::testing::ElementsAre;
using ::testing::HasSubstr;

constexpr int kRanks = 4;
constexpr size_t kCount = 1000;

std::vector<float> filled(size_t count, float value) { return std::vector<float>(count, value); }

// Block b of rank r holds 10 r + b.
std::vector<float> blocks_of(int rank) {
  std::vector<float> all;
  for (int b = 0; b < kRanks; ++b) all.insert(all.end(), kCount, static_cast<float>(10 * rank + b));
  return all;
}

void reductions(int rank, ncclComm_t comm) {
  const std::vector<float> mine = filled(kCount, static_cast<float>(rank + 1));
  std::vector<float> out(kCount);
  NCCL_OK(ncclAllReduce(mine.data(), out.data(), kCount, ncclFloat32, ncclSum, comm, nullptr));
  EXPECT_THAT(out, Each(10.0f));
  NCCL_OK(ncclAllReduce(mine.data(), out.data(), kCount, ncclFloat32, ncclAvg, comm, nullptr));
  EXPECT_THAT(out, Each(2.5f));
  out = mine;  // in place
  NCCL_OK(ncclAllReduce(out.data(), out.data(), kCount, ncclFloat, ncclMax, comm, nullptr));
  EXPECT_THAT(out, Each(4.0f));
  NCCL_OK(ncclReduce(mine.data(), rank == 1 ? out.data() : nullptr, kCount, ncclFloat, ncclProd, 1,
                     comm, nullptr));
  if (rank == 1) {
    EXPECT_THAT(out, Each(24.0f));
  }
  const std::vector<float> blocks = blocks_of(rank);
  NCCL_OK(ncclReduceScatter(blocks.data(), out.data(), kCount, ncclFloat, ncclMin, comm, nullptr));
  EXPECT_THAT(out, Each(static_cast<float>(rank)));
  std::vector<int64_t> whole(kCount, rank);
  NCCL_OK(ncclAllReduce(whole.data(), whole.data(), kCount, ncclInt64, ncclSum, comm, nullptr));
  EXPECT_THAT(whole, Each(6));
}

void movements(int rank, ncclComm_t comm) {
  std::vector<float> out(kCount);
  const std::vector<float> mine = filled(kCount, static_cast<float>(rank + 1));
  NCCL_OK(ncclBroadcast(mine.data(), out.data(), kCount, ncclFloat, 2, comm, nullptr));
  EXPECT_THAT(out, Each(3.0f));
  out = mine;
  NCCL_OK(ncclBcast(out.data(), kCount, ncclFloat, 3, comm, nullptr));
  EXPECT_THAT(out, Each(4.0f));

  std::vector<float> all(kRanks * kCount);
  std::vector<float> expected;
  for (int r = 0; r < kRanks; ++r)
    expected.insert(expected.end(), kCount, static_cast<float>(r + 1));
  NCCL_OK(ncclAllGather(mine.data(), all.data(), kCount, ncclFloat, comm, nullptr));
  EXPECT_EQ(all, expected);
  std::ranges::fill(all, 0.0f);
  NCCL_OK(ncclGather(mine.data(), all.data(), kCount, ncclFloat, 1, comm, nullptr));
  if (rank == 1) {
    EXPECT_EQ(all, expected);
  }

  const std::vector<float> blocks = blocks_of(rank);
  NCCL_OK(ncclScatter(blocks.data(), out.data(), kCount, ncclFloat, 0, comm, nullptr));
  EXPECT_THAT(out, Each(static_cast<float>(rank)));
  NCCL_OK(ncclAlltoAll(blocks.data(), all.data(), kCount, ncclFloat, comm, nullptr));
  for (size_t from = 0; from < kRanks; ++from)
    EXPECT_EQ(all[from * kCount], static_cast<float>(10 * from) + static_cast<float>(rank));
}

void ring(int rank, ncclComm_t comm) {
  const int next = (rank + 1) % kRanks;
  const int previous = (rank + kRanks - 1) % kRanks;
  const std::vector<int> mine(kCount, rank);
  std::vector<int> got(kCount, -1);
  NCCL_OK(ncclGroupStart());
  NCCL_OK(ncclSend(mine.data(), kCount, ncclInt32, next, comm, nullptr));
  NCCL_OK(ncclRecv(got.data(), kCount, ncclInt32, previous, comm, nullptr));
  NCCL_OK(ncclGroupEnd());
  EXPECT_THAT(got, Each(previous));
}

void everything(int rank, ncclComm_t comm) {
  int n = 0;
  int own = -1;
  int device = 0;
  NCCL_OK(ncclCommCount(comm, &n));
  NCCL_OK(ncclCommUserRank(comm, &own));
  NCCL_OK(ncclCommCuDevice(comm, &device));
  EXPECT_THAT((std::vector{n, own, device}), ElementsAre(kRanks, rank, -1));
  reductions(rank, comm);
  movements(rank, comm);
  ring(rank, comm);
}

TEST(NcclProgram, Threads_EveryCollective_GivesRightResults) { on_threads(kRanks, everything); }
TEST(NcclProgram, Processes_EveryCollective_GivesRightResults) { on_processes(kRanks, everything); }

TEST(NcclProgram, OneThread_GroupsOverAllItsRanks_GiveRightResults) {
  std::vector<ncclComm_t> comms(kRanks);
  NCCL_MUST(ncclCommInitAll(comms.data(), kRanks, nullptr));
  std::vector<std::vector<float>> in;
  std::vector<std::vector<float>> out(kRanks, filled(kCount, 0));
  for (int r = 0; r < kRanks; ++r) in.push_back(filled(kCount, static_cast<float>(r)));
  NCCL_OK(ncclGroupStart());
  for (size_t r = 0; r < kRanks; ++r) {
    NCCL_OK(
        ncclAllReduce(in[r].data(), out[r].data(), kCount, ncclFloat, ncclSum, comms[r], nullptr));
  }
  NCCL_OK(ncclGroupEnd());
  for (size_t r = 0; r < kRanks; ++r) {
    EXPECT_THAT(out[r], Each(6.0f));
    NCCL_OK(ncclCommDestroy(comms[r]));
  }
}

TEST(NcclProgram, OneThread_InitialisesItsRanksInAGroup) {
  ncclUniqueId id;
  NCCL_MUST(ncclGetUniqueId(&id));
  std::vector<ncclComm_t> comms(kRanks);
  std::vector<ncclComm_t> halves(kRanks);
  NCCL_OK(ncclGroupStart());
  for (int r = 0; r < kRanks; ++r)
    NCCL_OK(ncclCommInitRank(&comms[static_cast<size_t>(r)], kRanks, id, r));
  NCCL_MUST(ncclGroupEnd());
  NCCL_OK(ncclGroupStart());
  for (int r = 0; r < kRanks; ++r) {
    const auto i = static_cast<size_t>(r);
    NCCL_OK(ncclCommSplit(comms[i], r / 2, 0, &halves[i], nullptr));
  }
  NCCL_MUST(ncclGroupEnd());
  std::vector<int> sums(kRanks, 1);
  NCCL_OK(ncclGroupStart());
  for (size_t r = 0; r < kRanks; ++r)
    NCCL_OK(ncclAllReduce(&sums[r], &sums[r], 1, ncclInt, ncclSum, halves[r], nullptr));
  NCCL_OK(ncclGroupEnd());
  EXPECT_THAT(sums, Each(2));
  for (size_t r = 0; r < kRanks; ++r) {
    NCCL_OK(ncclCommDestroy(halves[r]));
    NCCL_OK(ncclCommDestroy(comms[r]));
  }
}

TEST(NcclProgram, SeveralCommunicators_InOneGroup_DoNotDisturbEachOther) {
  on_threads(kRanks, [](int rank, ncclComm_t world) {
    Comm half;
    NCCL_MUST(ncclCommSplit(world, rank % 2, rank, half.put(), nullptr));
    int n = 0;
    NCCL_OK(ncclCommCount(half, &n));
    EXPECT_EQ(n, 2);
    const float mine = static_cast<float>(rank);
    float of_world = -1;
    float of_half = -1;
    NCCL_OK(ncclGroupStart());
    NCCL_OK(ncclAllReduce(&mine, &of_world, 1, ncclFloat, ncclSum, world, nullptr));
    NCCL_OK(ncclAllReduce(&mine, &of_half, 1, ncclFloat, ncclSum, half, nullptr));
    NCCL_OK(ncclGroupEnd());
    EXPECT_EQ(of_world, 6.0f);
    EXPECT_EQ(of_half, rank % 2 == 0 ? 2.0f : 4.0f);
  });
}

TEST(NcclProgram, Split_WithoutColor_GivesNoCommunicator) {
  on_threads(2, [](int rank, ncclComm_t world) {
    Comm part;
    NCCL_OK(ncclCommSplit(world, rank == 0 ? 0 : NCCL_SPLIT_NOCOLOR, 0, part.put(), nullptr));
    EXPECT_EQ(part == nullptr, rank == 1);
  });
}

TEST(NcclProgram, Shrink_WithoutOneRank_GoesOnWithTheOthers) {
  on_threads(kRanks, [](int rank, ncclComm_t world) {
    if (rank == 2) return;
    int excluded = 2;
    Comm rest;
    NCCL_MUST(ncclCommShrink(world, &excluded, 1, rest.put(), nullptr, NCCL_SHRINK_DEFAULT));
    int own = -1;
    NCCL_OK(ncclCommUserRank(rest, &own));
    EXPECT_EQ(own, rank == 3 ? 2 : rank);
    int sum = 1;
    NCCL_OK(ncclAllReduce(&sum, &sum, 1, ncclInt, ncclSum, rest, nullptr));
    EXPECT_EQ(sum, 3);
  });
}

TEST(NcclProgram, Grow_ByOneRank_HasAllOfThem) {
  ncclUniqueId id;
  std::atomic<bool> made{false};  // release once `id` is whole, acquire by the new rank
  std::thread newcomer([&] {
    while (!made.load(std::memory_order_acquire)) std::this_thread::yield();
    Comm comm;
    NCCL_MUST(ncclCommGrow(nullptr, 3, &id, 2, comm.put(), nullptr));
    int sum = 1;
    NCCL_OK(ncclAllReduce(&sum, &sum, 1, ncclInt, ncclSum, comm, nullptr));
    EXPECT_EQ(sum, 3);
  });
  on_threads(2, [&](int rank, ncclComm_t world) {
    if (rank == 0) {
      NCCL_OK(ncclCommGetUniqueId(world, &id));
      made.store(true, std::memory_order_release);
    }
    Comm comm;
    NCCL_MUST(ncclCommGrow(world, 3, rank == 0 ? &id : nullptr, -1, comm.put(), nullptr));
    int sum = 1;
    NCCL_OK(ncclAllReduce(&sum, &sum, 1, ncclInt, ncclSum, comm, nullptr));
    EXPECT_EQ(sum, 3);
  });
  newcomer.join();
}

ncclResult_t wait_for(ncclComm_t comm) {
  ncclResult_t state = ncclInProgress;
  while (state == ncclInProgress) {
    if (ncclCommGetAsyncError(comm, &state) != ncclSuccess) return ncclInternalError;
    std::this_thread::yield();
  }
  return state;
}

TEST(NcclProgram, NonBlocking_InitAndFinalize_ArePolled) {
  ncclUniqueId id;
  NCCL_MUST(ncclGetUniqueId(&id));
  std::vector<std::thread> threads;
  for (int rank = 0; rank < 2; ++rank) {
    threads.emplace_back([&, rank] {
      ncclConfig_t config{};
      config.size = sizeof config;
      config.magic = 0xcafebeef;
      config.version = 22809;
      config.blocking = 0;
      config.cgaClusterSize = config.minCTAs = config.maxCTAs = NCCL_CONFIG_UNDEF_INT;
      config.splitShare = config.trafficClass = config.collnetEnable = NCCL_CONFIG_UNDEF_INT;
      config.CTAPolicy = config.shrinkShare = config.nvlsCTAs = NCCL_CONFIG_UNDEF_INT;
      config.nChannelsPerNetPeer = config.nvlinkCentricSched = NCCL_CONFIG_UNDEF_INT;
      Comm comm;
      const ncclResult_t begun = ncclCommInitRankConfig(comm.put(), 2, id, rank, &config);
      EXPECT_TRUE(begun == ncclInProgress || begun == ncclSuccess) << last_error();
      EXPECT_EQ(wait_for(comm), ncclSuccess) << last_error(comm);
      int sum = 1;
      const ncclResult_t called = ncclAllReduce(&sum, &sum, 1, ncclInt, ncclSum, comm, nullptr);
      EXPECT_TRUE(called == ncclInProgress || called == ncclSuccess) << last_error();
      EXPECT_EQ(wait_for(comm), ncclSuccess);
      EXPECT_EQ(sum, 2);
      const ncclResult_t ended = ncclCommFinalize(comm);
      EXPECT_TRUE(ended == ncclInProgress || ended == ncclSuccess) << last_error();
      EXPECT_EQ(wait_for(comm), ncclSuccess);
    });
  }
  for (std::thread& thread : threads) thread.join();
}

TEST(NcclProgram, ScalableInit_WithTwoIds_JoinsAll) {
  ncclUniqueId ids[2];
  NCCL_MUST(ncclGetUniqueId(&ids[0]));
  NCCL_MUST(ncclGetUniqueId(&ids[1]));
  std::vector<std::thread> threads;
  for (int rank = 0; rank < 3; ++rank) {
    threads.emplace_back([&, rank] {
      Comm comm;
      NCCL_MUST(ncclCommInitRankScalable(comm.put(), 3, rank, 2, ids, nullptr));
      int sum = rank;
      NCCL_OK(ncclAllReduce(&sum, &sum, 1, ncclInt, ncclSum, comm, nullptr));
      EXPECT_EQ(sum, 3);
    });
  }
  for (std::thread& thread : threads) thread.join();
  ncclComm_t none = nullptr;
  EXPECT_EQ(ncclCommInitRankScalable(&none, 1, 0, 0, ids, nullptr), ncclInvalidArgument);
  EXPECT_THAT(last_error(), HasSubstr("nId"));
}

TEST(NcclProgram, OwnOperation_MultipliesBeforeItSums) {
  on_threads(2, [](int rank, ncclComm_t comm) {
    double factor = 0.5;
    ncclRedOp_t half = ncclSum;
    NCCL_MUST(ncclRedOpCreatePreMulSum(&half, &factor, ncclDouble, ncclScalarHostImmediate, comm));
    EXPECT_GE(half, ncclNumOps);
    const double mine = 4.0 + rank;
    double out = 0;
    NCCL_OK(ncclAllReduce(&mine, &out, 1, ncclFloat64, half, comm, nullptr));
    EXPECT_EQ(out, 4.5);
    NCCL_OK(ncclRedOpDestroy(half, comm));
  });
}

TEST(NcclProgram, Windows_PutsAndSignals_Arrive) {
  on_threads(2, [](int rank, ncclComm_t comm) {
    void* memory = nullptr;
    NCCL_MUST(ncclMemAlloc(&memory, 4096));
    ncclWindow_t window = nullptr;
    NCCL_MUST(ncclCommWindowRegister(comm, memory, 4096, &window, NCCL_WIN_COLL_SYMMETRIC));
    void* base = nullptr;
    NCCL_OK(ncclWinGetUserPtr(comm, window, &base));
    EXPECT_EQ(base, memory);
    const int mine = 100 + rank;
    const int peer = 1 - rank;
    NCCL_OK(ncclPutSignal(&mine, 1, ncclInt, peer, window, 8, 0, 0, 0, comm, nullptr));
    NCCL_OK(ncclSignal(peer, 1, 0, 0, comm, nullptr));
    ncclWaitSignalDesc_t awaited[2] = {{1, peer, 0, 0}, {1, peer, 1, 0}};
    NCCL_OK(ncclWaitSignal(2, awaited, comm, nullptr));
    EXPECT_EQ(static_cast<int*>(memory)[2], 100 + peer);
    NCCL_OK(ncclCommWindowDeregister(comm, window));
    NCCL_OK(ncclMemFree(memory));
  });
}

TEST(NcclProgram, Revoke_EndsWhatOthersWaitFor) {
  on_threads(2, [](int rank, ncclComm_t comm) {
    int x = 0;
    if (rank == 0) {
      NCCL_OK(ncclCommRevoke(comm, 0));
    } else {
      EXPECT_EQ(ncclAllReduce(&x, &x, 1, ncclInt, ncclSum, comm, nullptr), ncclRemoteError);
      EXPECT_THAT(last_error(comm), HasSubstr("rank 0"));
    }
  });
}

}  // namespace
}  // namespace tutti::nccl_test
