// SPDX-License-Identifier: Apache-2.0
// Sends and receives that are made again and again, which go a shorter way from the second time on:
// the same bytes, order, checks and errors.
#include <chrono>
#include <cstdint>
#include <thread>
#include <vector>

#include "tests/unit/api_support.h"

namespace tutti::testing {
namespace {

using Ints = std::vector<int32_t>;

tuttiResult_t send(const Ints& data, int peer, tuttiComm_t comm) {
  return tuttiSend(data.data(), data.size(), tuttiInt32, peer, comm, nullptr);
}
tuttiResult_t receive(Ints& data, int peer, tuttiComm_t comm) {
  return tuttiRecv(data.data(), data.size(), tuttiInt32, peer, comm, nullptr);
}
Ints numbers(size_t count, int rank, int round) {
  Ints made(count);
  for (size_t i = 0; i < count; ++i) made[i] = value(rank, i, round);
  return made;
}
void pause(int milliseconds) {
  std::this_thread::sleep_for(std::chrono::milliseconds(milliseconds));
}

// Inline, staged, in several pieces, by reference, and nothing at all.
const std::vector<size_t> kCounts = {0, 1, 14, 15, 1000, 5000, 12000, 40000, 100000};

class RepeatedP2p : public ::testing::TestWithParam<const char*> {
 protected:
  // Two ranks, each with its own thread.
  static void run(double timeout, const std::function<void(int rank, tuttiComm_t comm)>& body) {
    tuttiUniqueId id;
    EXPECT_TUTTI(tuttiGetUniqueId(&id));
    std::vector<std::thread> threads;
    for (int rank = 0; rank < 2; ++rank) {
      threads.emplace_back([&, rank] {
        tuttiConfig_t config = TUTTI_CONFIG_INITIALIZER;
        config.timeoutSeconds = timeout;
        config.protocol = *GetParam() == '\0' ? nullptr : GetParam();
        tuttiComm_t comm = nullptr;
        EXPECT_TUTTI(tuttiCommInitRankConfig(&comm, 2, id, rank, &config));
        body(rank, comm);
        EXPECT_TUTTI(tuttiCommDestroy(comm));
      });
    }
    for (std::thread& thread : threads) thread.join();
  }
};
INSTANTIATE_TEST_SUITE_P(Protocols, RepeatedP2p,
                         ::testing::Values("", "inline", "staged", "direct"));

TEST_P(RepeatedP2p, ThereAndBack_BringsTheSameBytes) {
  run(60, [](int rank, tuttiComm_t comm) {
    for (int round = 0; round < 60; ++round) {
      const size_t count = kCounts[static_cast<size_t>(round) / 2 % kCounts.size()];
      const Ints mine = numbers(count, rank, round);
      Ints theirs(count);
      if (rank == 0) EXPECT_TUTTI(send(mine, 1, comm));
      EXPECT_TUTTI(receive(theirs, 1 - rank, comm));
      if (rank == 1) EXPECT_TUTTI(send(mine, 0, comm));
      ASSERT_EQ(theirs, numbers(count, 1 - rank, round)) << count;
    }
  });
}

TEST_P(RepeatedP2p, LateReceivers_GetAllInOrder) {
  run(60, [](int rank, tuttiComm_t comm) {
    for (int round = 0; round < 40; ++round) {
      const size_t count = kCounts[static_cast<size_t>(round) % kCounts.size()];
      if (rank == 0) {
        // Changed as soon as the call has returned.
        Ints mine = numbers(count, 0, round);
        EXPECT_TUTTI(send(mine, 1, comm));
        std::fill(mine.begin(), mine.end(), -1);
      } else {
        Ints theirs(count);
        if (round % 3 != 0) pause(2);
        EXPECT_TUTTI(receive(theirs, 0, comm));
        ASSERT_EQ(theirs, numbers(count, 0, round)) << count;
      }
    }
  });
}

TEST_P(RepeatedP2p, LateSenders_AreWaitedFor) {
  run(60, [](int rank, tuttiComm_t comm) {
    for (int round = 0; round < 30; ++round) {
      const size_t count = kCounts[static_cast<size_t>(round) % kCounts.size()];
      if (rank == 0) {
        pause(2);
        EXPECT_TUTTI(send(numbers(count, 0, round), 1, comm));
      } else {
        Ints theirs(count);
        EXPECT_TUTTI(receive(theirs, 0, comm));
        ASSERT_EQ(theirs, numbers(count, 0, round)) << count;
      }
    }
  });
}

TEST_P(RepeatedP2p, MoreSmallSendsThanLines_WaitForTheReceiver) {
  run(60, [](int rank, tuttiComm_t comm) {
    for (int round = 0; round < 300; ++round) {
      Ints one{round};
      if (rank == 0) {
        EXPECT_TUTTI(send(one, 1, comm));
        continue;
      }
      if (round == 0) pause(20);
      EXPECT_TUTTI(receive(one, 0, comm));
      ASSERT_EQ(one.front(), round);
    }
  });
}

TEST_P(RepeatedP2p, BetweenCollectivesAndGroups_KeepTheirOrder) {
  run(60, [](int rank, tuttiComm_t comm) {
    for (int round = 0; round < 30; ++round) {
      const Ints mine = numbers(20, rank, round);
      Ints theirs(20), sum(20), grouped(20);
      EXPECT_TUTTI(rank == 0 ? send(mine, 1, comm) : receive(theirs, 0, comm));
      EXPECT_TUTTI(
          tuttiAllReduce(mine.data(), sum.data(), 20, tuttiInt32, tuttiSum, comm, nullptr));
      EXPECT_TUTTI(tuttiGroupStart());
      EXPECT_TUTTI(send(mine, 1 - rank, comm));
      EXPECT_TUTTI(receive(grouped, 1 - rank, comm));
      EXPECT_TUTTI(tuttiGroupEnd());
      const Ints other = numbers(20, 1 - rank, round);
      if (rank == 1) {
        ASSERT_EQ(theirs, other);
      }
      ASSERT_EQ(grouped, other);
      for (size_t i = 0; i < 20; ++i) ASSERT_EQ(sum[i], mine[i] + other[i]);
    }
  });
}

TEST_P(RepeatedP2p, WhosePeerNeverComes_FailsAtTheDeadlineAndNamesIt) {
  run(0.3, [](int rank, tuttiComm_t comm) {
    Ints data(5000);
    for (int i = 0; i < 5; ++i)
      EXPECT_TUTTI(rank == 0 ? receive(data, 1, comm) : send(data, 0, comm));
    if (rank == 0) {
      expect_error(receive(data, 1, comm), tuttiRemoteError, {"rank 1"});
    } else {
      pause(1500);
    }
  });
}

TEST_P(RepeatedP2p, ThatPeersDisagreeOn_IsNamed) {
  run(5, [](int rank, tuttiComm_t comm) {
    Ints one(1), two(2);
    for (int i = 0; i < 4; ++i) {
      EXPECT_TUTTI(rank == 0 ? send(one, 1, comm) : receive(one, 0, comm));
      EXPECT_TUTTI(rank == 0 ? send(two, 1, comm) : receive(two, 0, comm));
    }
    if (rank == 0) {
      send(one, 1, comm);  // may be told at once, or later
      pause(200);          // and is still there when it is asked
    } else {
      expect_error(receive(two, 0, comm), tuttiInvalidUsage, {"send #8 of rank 0 to rank 1"});
    }
  });
}

TEST_P(RepeatedP2p, ThatWaits_IsEndedByARevocation) {
  run(60, [](int rank, tuttiComm_t comm) {
    Ints data(3);
    for (int i = 0; i < 5; ++i)
      EXPECT_TUTTI(rank == 0 ? receive(data, 1, comm) : send(data, 0, comm));
    if (rank == 1) {
      pause(50);
      EXPECT_TUTTI(tuttiCommRevoke(comm, 0));
      return;
    }
    expect_error(receive(data, 1, comm), tuttiRemoteError, {"revoked"});
  });
}

TEST(RepeatedTransfer, WrongArguments_AreRefusedAndNothingBreaks) {
  World world(2);
  world.each([](int rank, tuttiComm_t comm) {
    Ints data{rank};
    for (int i = 0; i < 3; ++i)
      EXPECT_TUTTI(rank == 0 ? send(data, 1, comm) : receive(data, 0, comm));
    expect_error(tuttiSend(nullptr, 1, tuttiInt32, 1 - rank, comm, nullptr), tuttiInvalidArgument,
                 {"sendbuff is NULL"});
    expect_error(tuttiSend(data.data(), 1, tuttiInt32, 2, comm, nullptr), tuttiInvalidArgument,
                 {"peer"});
    EXPECT_TUTTI(rank == 0 ? send(data, 1, comm) : receive(data, 0, comm));
    EXPECT_EQ(data.front(), 0);
  });
}

TEST(RepeatedTransfer, IsCountedLikeTheFirst) {
  World world(2);
  world.each([](int rank, tuttiComm_t comm) {
    Ints data{rank};
    const auto move = [&] {
      EXPECT_TUTTI(rank == 0 ? send(data, 1, comm) : receive(data, 0, comm));
    };
    tuttiCommStats_t before = TUTTI_COMM_STATS_INITIALIZER, after = TUTTI_COMM_STATS_INITIALIZER;
    move();
    EXPECT_TUTTI(tuttiCommGetStats(comm, &before));
    for (int i = 0; i < 10; ++i) move();
    EXPECT_TUTTI(tuttiCommGetStats(comm, &after));
    EXPECT_EQ(after.operations - before.operations, 10U);
    EXPECT_EQ(after.bytes[0] - before.bytes[0], rank == 0 ? 10 * sizeof(int32_t) : 0);
    EXPECT_STREQ(after.lastProtocol, rank == 0 ? "inline" : "none");
  });
}

}  // namespace
}  // namespace tutti::testing
