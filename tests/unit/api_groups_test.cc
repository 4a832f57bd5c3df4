// SPDX-License-Identifier: Apache-2.0
// Groups and point-to-point calls of the C API.
#include <atomic>
#include <numeric>

#include "src/base/clock.h"
#include "src/base/wait.h"
#include "tests/unit/api_support.h"

namespace tutti::testing {
namespace {

using Ints = std::vector<int>;

class PointToPoint : public ::testing::TestWithParam<size_t> {};
INSTANTIATE_TEST_SUITE_P(Counts, PointToPoint, ::testing::Values(0, 1, 14, 15, 5000, 300000));

TEST_P(PointToPoint, RingExchange_Group_RotatesData) {
  const size_t count = GetParam();
  World world(4);
  world.each([&](int r, tuttiComm_t comm) {
    Ints in(count), out(count, -1);
    for (size_t i = 0; i < count; ++i) in[i] = value(r, i);
    for (int round = 0; round < 3; ++round) {
      EXPECT_TUTTI(tuttiGroupStart());
      EXPECT_TUTTI(tuttiSend(in.data(), count, tuttiInt32, (r + 1) % 4, comm, nullptr));
      EXPECT_TUTTI(tuttiRecv(out.data(), count, tuttiInt32, (r + 3) % 4, comm, nullptr));
      EXPECT_TUTTI(tuttiGroupEnd());
      for (size_t i = 0; i < count; ++i) ASSERT_EQ(out[i], value((r + 3) % 4, i));
    }
  });
}

TEST_P(PointToPoint, SendThenRecv_WithoutGroup_Arrives) {
  const size_t count = GetParam();
  World world(2);
  world.each([&](int r, tuttiComm_t comm) {
    Ints data(count);
    for (size_t i = 0; i < count; ++i) data[i] = r == 0 ? value(0, i) : -1;
    if (r == 0) {
      EXPECT_TUTTI(tuttiSend(data.data(), count, tuttiInt32, 1, comm, nullptr));
    } else {
      EXPECT_TUTTI(tuttiRecv(data.data(), count, tuttiInt32, 0, comm, nullptr));
    }
    for (size_t i = 0; i < count; ++i) ASSERT_EQ(data[i], value(0, i));
  });
}

TEST_P(PointToPoint, AllPairsWithSelf_OneThread_Arrive) {
  const size_t count = GetParam();
  constexpr int kRanks = 3;
  World world(kRanks);
  std::vector<Ints> in(kRanks, Ints(count * kRanks)), out(kRanks, Ints(count * kRanks, -1));
  for (size_t r = 0; r < kRanks; ++r) {
    for (size_t i = 0; i < in[r].size(); ++i) in[r][i] = value(static_cast<int>(r), i);
  }
  world.grouped([&](int rank, tuttiComm_t comm) {
    const auto r = static_cast<size_t>(rank);
    for (int peer = 0; peer < kRanks; ++peer) {
      const size_t at = static_cast<size_t>(peer) * count;
      EXPECT_TUTTI(tuttiSend(in[r].data() + at, count, tuttiInt32, peer, comm, nullptr));
      EXPECT_TUTTI(tuttiRecv(out[r].data() + at, count, tuttiInt32, peer, comm, nullptr));
    }
  });
  for (size_t d = 0; d < kRanks; ++d) {
    for (size_t s = 0; s < kRanks; ++s) {
      for (size_t i = 0; i < count; ++i) {
        ASSERT_EQ(out[d][s * count + i], value(static_cast<int>(s), d * count + i))
            << s << " to " << d;
      }
    }
  }
}

TEST(PointToPointOrder, SeveralToOnePeer_MatchInOrder) {
  World world(2);
  world.each([&](int r, tuttiComm_t comm) {
    std::vector<Ints> data;
    for (int k = 0; k < 20; ++k) data.emplace_back(static_cast<size_t>(k) * 997, r == 0 ? k : -1);
    EXPECT_TUTTI(tuttiGroupStart());
    for (Ints& d : data) {
      if (r == 0) {
        EXPECT_TUTTI(tuttiSend(d.data(), d.size(), tuttiInt32, 1, comm, nullptr));
      } else {
        EXPECT_TUTTI(tuttiRecv(d.data(), d.size(), tuttiInt32, 0, comm, nullptr));
      }
    }
    EXPECT_TUTTI(tuttiGroupEnd());
    for (int k = 0; k < 20; ++k) {
      for (const int v : data[static_cast<size_t>(k)]) ASSERT_EQ(v, k);
    }
  });
}

// A chain in which each rank receives before it sends: a lane must not wait for the connections of
// others.
TEST(PointToPointOrder, ChainThroughAllRanks_FirstRankGrouped_DoesNotDeadlock) {
  World world(3);
  world.each([&](int r, tuttiComm_t comm) {
    int token = r == 0 ? 7 : 0;
    if (r == 0) {
      int back = 0;
      EXPECT_TUTTI(tuttiGroupStart());
      EXPECT_TUTTI(tuttiRecv(&back, 1, tuttiInt32, 2, comm, nullptr));
      EXPECT_TUTTI(tuttiSend(&token, 1, tuttiInt32, 1, comm, nullptr));
      EXPECT_TUTTI(tuttiGroupEnd());
      EXPECT_EQ(back, 9);
      return;
    }
    EXPECT_TUTTI(tuttiRecv(&token, 1, tuttiInt32, r - 1, comm, nullptr));
    ++token;
    EXPECT_TUTTI(tuttiSend(&token, 1, tuttiInt32, (r + 1) % 3, comm, nullptr));
  });
}

TEST(Group, CollectivesAndPointToPoint_RunTogether) {
  World world(4);
  world.each([&](int r, tuttiComm_t comm) {
    int one = r + 1, total = 0, from = -1, biggest = 0;
    EXPECT_TUTTI(tuttiGroupStart());
    EXPECT_TUTTI(tuttiAllReduce(&one, &total, 1, tuttiInt32, tuttiSum, comm, nullptr));
    EXPECT_TUTTI(tuttiSend(&one, 1, tuttiInt32, (r + 1) % 4, comm, nullptr));
    EXPECT_TUTTI(tuttiGroupStart());
    EXPECT_TUTTI(tuttiRecv(&from, 1, tuttiInt32, (r + 3) % 4, comm, nullptr));
    EXPECT_TUTTI(tuttiAllReduce(&one, &biggest, 1, tuttiInt32, tuttiMax, comm, nullptr));
    EXPECT_TUTTI(tuttiGroupEnd());
    EXPECT_EQ(total, 0) << "nothing may run before the outermost end";
    EXPECT_TUTTI(tuttiGroupEnd());
    EXPECT_EQ(total, 10);
    EXPECT_EQ(biggest, 4);
    EXPECT_EQ(from, (r + 3) % 4 + 1);
  });
}

TEST(Group, TwoCommunicatorsInOppositeOrder_DoNotDeadlock) {
  World first(2), second(2);
  first.each([&](int r, tuttiComm_t) {
    int one = 1, a = 0, b = 0;
    EXPECT_TUTTI(tuttiGroupStart());
    for (int k = 0; k < 2; ++k) {
      World& world = (k == r) ? first : second;
      EXPECT_TUTTI(
          tuttiAllReduce(&one, k == r ? &a : &b, 1, tuttiInt32, tuttiSum, world[r], nullptr));
    }
    EXPECT_TUTTI(tuttiGroupEnd());
    EXPECT_EQ(a, 2);
    EXPECT_EQ(b, 2);
  });
}

TEST(Group, InitInsideGroup_OneThread_MakesAllRanks) {
  tuttiUniqueId id;
  EXPECT_TUTTI(tuttiGetUniqueId(&id));
  tuttiComm_t comms[3] = {};
  EXPECT_TUTTI(tuttiGroupStart());
  for (int r = 0; r < 3; ++r) EXPECT_TUTTI(tuttiCommInitRank(&comms[r], 3, id, r));
  EXPECT_TUTTI(tuttiGroupEnd());
  int values[3] = {1, 2, 3};
  EXPECT_TUTTI(tuttiGroupStart());
  for (int r = 0; r < 3; ++r) {
    EXPECT_TUTTI(
        tuttiAllReduce(&values[r], &values[r], 1, tuttiInt32, tuttiSum, comms[r], nullptr));
  }
  EXPECT_TUTTI(tuttiGroupEnd());
  for (const int v : values) EXPECT_EQ(v, 6);
  for (tuttiComm_t comm : comms) EXPECT_TUTTI(tuttiCommDestroy(comm));
}

TEST(Group, NullStreamCallOfThreadWithSeveralRanks_IsRefused) {
  World world(2);
  int values[2] = {1, 2};
  world.grouped([&](int r, tuttiComm_t comm) {
    EXPECT_TUTTI(tuttiAllReduce(&values[r], &values[r], 1, tuttiInt32, tuttiSum, comm, nullptr));
  });
  expect_error(tuttiAllReduce(&values[0], &values[0], 1, tuttiInt32, tuttiSum, world[0], nullptr),
               tuttiInvalidUsage, {"several ranks", "tuttiGroupStart"});
}

TEST(Group, RanksHandedToThreads_AreNotRefused) {
  World world(8);
  for (int round = 0; round < 3; ++round) {
    world.each([&](int, tuttiComm_t comm) {
      int one = 1;
      EXPECT_TUTTI(tuttiAllReduce(&one, &one, 1, tuttiInt32, tuttiSum, comm, nullptr));
      EXPECT_EQ(one, 8);
    });
  }
}

TEST(Group, RankHandedOnWhileTheCallWaits_IsNotRefused) {
  World world(2);
  int values[2] = {1, 2};
  world.grouped([&](int r, tuttiComm_t comm) {
    EXPECT_TUTTI(tuttiAllReduce(&values[r], &values[r], 1, tuttiInt32, tuttiSum, comm, nullptr));
  });
  std::atomic<bool> calling{false};
  std::thread other([&] {
    while (!calling) std::this_thread::yield();
    sleep_ns(20 * kNsPerMs);  // the other call has looked by now
    EXPECT_TUTTI(tuttiBarrier(world[1], nullptr));
  });
  calling = true;
  EXPECT_TUTTI(tuttiBarrier(world[0], nullptr));
  other.join();
}

TEST(Group, UnmatchedSelfSend_IsRefusedAndNothingRuns) {
  World world(1);
  int x = 1, total = 0;
  EXPECT_TUTTI(tuttiGroupStart());
  EXPECT_TUTTI(tuttiAllReduce(&x, &total, 1, tuttiInt32, tuttiSum, world[0], nullptr));
  EXPECT_TUTTI(tuttiSend(&x, 1, tuttiInt32, 0, world[0], nullptr));
  expect_error(tuttiGroupEnd(), tuttiInvalidUsage, {"tuttiGroupEnd", "to the calling rank itself"});
  EXPECT_EQ(total, 0);
  EXPECT_TUTTI(tuttiAllReduce(&x, &total, 1, tuttiInt32, tuttiSum, world[0], nullptr));
  EXPECT_EQ(total, 1);
}

TEST(Group, RefusedCall_RefusesTheGroup) {
  World world(1);
  int x = 1, total = 0;
  EXPECT_TUTTI(tuttiGroupStart());
  EXPECT_TUTTI(tuttiAllReduce(&x, &total, 1, tuttiInt32, tuttiSum, world[0], nullptr));
  expect_error(tuttiSend(&x, 1, tuttiInt32, 5, world[0], nullptr), tuttiInvalidArgument,
               {"peer is 5"});
  expect_error(tuttiGroupEnd(), tuttiInvalidArgument, {"peer is 5"});
  EXPECT_EQ(total, 0);
}

TEST(Group, EndWithoutStart_IsRefused) {
  expect_error(tuttiGroupEnd(), tuttiInvalidUsage, {"without tuttiGroupStart"});
}

}  // namespace
}  // namespace tutti::testing
