// SPDX-License-Identifier: Apache-2.0
// Shrink, grow and revoke over threads; over processes that die they are tested by
// tests/failure/survive.cc.
#include <array>
#include <cstdint>
#include <thread>

#include "tests/unit/api_support.h"

namespace tutti::testing {
namespace {

void expect_sum(tuttiComm_t comm, int64_t mine, int64_t expected) {
  int64_t sum = 0;
  EXPECT_TUTTI(tuttiAllReduce(&mine, &sum, 1, tuttiInt64, tuttiSum, comm, nullptr));
  EXPECT_EQ(sum, expected);
}

TEST(Shrink_Healthy, RanksLeft_KeepTheirOrder_AndTheParentWorks) {
  World world(5);
  world.each([](int rank, tuttiComm_t comm) {
    std::array<int, 2> excluded = {3, 0};
    if (rank != 0 && rank != 3) {
      tuttiComm_t smaller = nullptr;
      EXPECT_TUTTI(
          tuttiCommShrink(comm, excluded.data(), 2, &smaller, nullptr, TUTTI_SHRINK_DEFAULT));
      int new_rank = -1, count = 0;
      EXPECT_TUTTI(tuttiCommUserRank(smaller, &new_rank));
      EXPECT_TUTTI(tuttiCommCount(smaller, &count));
      EXPECT_EQ(new_rank, rank == 1 ? 0 : rank == 2 ? 1 : 2);
      EXPECT_EQ(count, 3);
      expect_sum(smaller, rank, 1 + 2 + 4);
      EXPECT_TUTTI(tuttiCommDestroy(smaller));
    }
    expect_sum(comm, rank, 10);
  });
}

TEST(Shrink_TwiceInARow, SameParent_BothWork) {
  World world(3);
  world.each([](int rank, tuttiComm_t comm) {
    for (int round = 0; round < 3 && rank != 2; ++round) {
      int excluded = 2;
      tuttiComm_t smaller = nullptr;
      EXPECT_TUTTI(tuttiCommShrink(comm, &excluded, 1, &smaller, nullptr, TUTTI_SHRINK_DEFAULT));
      expect_sum(smaller, rank + 1, 3);
      EXPECT_TUTTI(tuttiCommDestroy(smaller));
    }
  });
}

TEST(Shrink_Abort, OperationInFlight_EndsWithAnError_AndTheRestGoesOn) {
  World world(3);
  world.each([](int rank, tuttiComm_t comm) {
    if (rank == 2) return;  // never comes
    tuttiStream_t stream = nullptr;
    EXPECT_TUTTI(tuttiStreamCreate(&stream));
    int64_t mine = 1, sum = 0;
    EXPECT_TUTTI(tuttiAllReduce(&mine, &sum, 1, tuttiInt64, tuttiSum, comm, stream));
    int excluded = 2;
    tuttiComm_t smaller = nullptr;
    EXPECT_TUTTI(tuttiCommShrink(comm, &excluded, 1, &smaller, nullptr, TUTTI_SHRINK_ABORT));
    EXPECT_NE(tuttiStreamSynchronize(stream), tuttiSuccess);
    expect_sum(smaller, 5, 10);
    EXPECT_TUTTI(tuttiCommDestroy(smaller));
    EXPECT_TUTTI(tuttiStreamDestroy(stream));
  });
}

TEST(Shrink_Arguments, Wrong_AreRefused) {
  World world(2);
  tuttiComm_t out = nullptr;
  int list[] = {1, 1};
  expect_error(tuttiCommShrink(world[0], list, 2, &out, nullptr, 0), tuttiInvalidArgument,
               {"excludeRanksCount is 2"});
  list[0] = 7;
  expect_error(tuttiCommShrink(world[0], list, 1, &out, nullptr, 0), tuttiInvalidArgument,
               {"excludeRanksList[0]", "7"});
  list[0] = 0;
  expect_error(tuttiCommShrink(world[0], list, 1, &out, nullptr, 0), tuttiInvalidArgument,
               {"calling rank"});
  expect_error(tuttiCommShrink(world[0], nullptr, 1, &out, nullptr, 0), tuttiInvalidArgument,
               {"excludeRanksList"});
  list[0] = 1;
  expect_error(tuttiCommShrink(world[0], list, 1, &out, nullptr, 9), tuttiInvalidArgument,
               {"shrinkFlags is 9"});
}

TEST(Grow_ByTwo, OldRanksStay_NewOnesFollow) {
  World world(2);
  tuttiUniqueId id;
  EXPECT_TUTTI(tuttiCommGetUniqueId(world[1], &id));
  std::vector<std::thread> fresh;
  for (int rank = 2; rank < 4; ++rank) {
    fresh.emplace_back([&id, rank] {
      tuttiComm_t comm = nullptr;
      EXPECT_TUTTI(tuttiCommGrow(nullptr, 4, &id, rank, &comm, nullptr));
      expect_sum(comm, rank, 6);
      EXPECT_TUTTI(tuttiCommDestroy(comm));
    });
  }
  world.each([&id](int rank, tuttiComm_t comm) {
    tuttiComm_t larger = nullptr;
    EXPECT_TUTTI(tuttiCommGrow(comm, 4, rank == 1 ? &id : nullptr, -1, &larger, nullptr));
    int new_rank = -1;
    EXPECT_TUTTI(tuttiCommUserRank(larger, &new_rank));
    EXPECT_EQ(new_rank, rank);
    expect_sum(larger, rank, 6);
    EXPECT_TUTTI(tuttiCommDestroy(larger));
  });
  for (std::thread& thread : fresh) thread.join();
}

TEST(Grow_Arguments, Wrong_AreRefused) {
  World world(2);
  tuttiComm_t out = nullptr;
  expect_error(tuttiCommGrow(world[0], 1, nullptr, -1, &out, nullptr), tuttiInvalidArgument,
               {"nRanks is 1", "2 ranks"});
  expect_error(tuttiCommGrow(world[0], 3, nullptr, 0, &out, nullptr), tuttiInvalidArgument,
               {"rank is 0"});
  expect_error(tuttiCommGrow(nullptr, 3, nullptr, 2, &out, nullptr), tuttiInvalidArgument,
               {"uniqueId"});
}

TEST(Revoke_OneRank, OthersHearOfIt_AndCanShrink) {
  World world(3);
  world.each([](int rank, tuttiComm_t comm) {
    expect_sum(comm, 1, 3);
    if (rank == 1) EXPECT_TUTTI(tuttiCommRevoke(comm, 0));
    int64_t mine = 1, sum = 0;
    const tuttiResult_t result =
        tuttiAllReduce(&mine, &sum, 1, tuttiInt64, tuttiSum, comm, nullptr);
    expect_error(result, rank == 1 ? tuttiInvalidUsage : tuttiRemoteError,
                 {"revoked", rank == 1 ? "tuttiCommRevoke" : "rank 1"});
    tuttiComm_t same = nullptr;
    EXPECT_TUTTI(tuttiCommShrink(comm, nullptr, 0, &same, nullptr, TUTTI_SHRINK_DEFAULT));
    expect_sum(same, rank, 3);
    EXPECT_TUTTI(tuttiCommDestroy(same));
  });
  expect_error(tuttiCommRevoke(world[0], 4), tuttiInvalidArgument, {"revokeFlags is 4"});
}

}  // namespace
}  // namespace tutti::testing
