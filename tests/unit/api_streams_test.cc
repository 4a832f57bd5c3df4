// SPDX-License-Identifier: Apache-2.0
// Groups whose calls are on several streams, in the C API.
#include <array>
#include <barrier>
#include <memory>

#include "src/base/clock.h"
#include "src/base/wait.h"
#include "tests/unit/api_support.h"

namespace tutti::testing {
namespace {

bool in_progress(tuttiStream_t stream) { return tuttiStreamQuery(stream) == tuttiInProgress; }

// A stream that is busy on rank 0 until rank 1 takes part in the same sum.
struct Held {
  explicit Held(World& world) : comms(world) {}
  // value of each rank = sum over the ranks
  void reduce(int rank, tuttiStream_t stream) {
    int* mine = &value[static_cast<size_t>(rank)];
    EXPECT_TUTTI(tuttiAllReduce(mine, mine, 1, tuttiInt32, tuttiSum, comms[rank], stream));
  }
  World& comms;
  std::array<int, 2> value{1, 1};
};

constexpr int64_t kLookNs = 50 * kNsPerMs;  // in which what must wait would have run

TEST(GroupOnSeveralStreams, OneCommunicator_RunsAfterBothStreams_AndBeforeWhatFollowsOnEither) {
  World group_world(2);
  World held_world(2);
  Held held(held_world);
  std::array<int, 2> sum{};
  std::array<int, 2> twice{};
  std::barrier issued(2);
  group_world.each([&](int rank, tuttiComm_t comm) {
    const StreamHandle a;
    const StreamHandle b;
    const auto r = static_cast<size_t>(rank);
    const int one = 1;
    const int* const in = rank == 0 ? held.value.data() : &one;
    if (rank == 0) held.reduce(0, b);
    EXPECT_TUTTI(tuttiGroupStart());
    EXPECT_TUTTI(tuttiAllReduce(in, &sum[r], 1, tuttiInt32, tuttiSum, comm, a));
    EXPECT_TUTTI(tuttiBarrier(comm, b));
    EXPECT_TUTTI(tuttiGroupEnd());
    issued.arrive_and_wait();
    if (rank == 0) {
      const Deadline look = Deadline::after_ns(kLookNs);
      while (!look.expired()) EXPECT_TRUE(in_progress(a));
    }
    issued.arrive_and_wait();
    if (rank == 1) held.reduce(1, nullptr);
    EXPECT_TUTTI(tuttiAllReduce(&sum[r], &twice[r], 1, tuttiInt32, tuttiSum, comm, b));
    EXPECT_TUTTI(tuttiStreamSynchronize(b));
    EXPECT_TUTTI(tuttiStreamSynchronize(a));
  });
  EXPECT_EQ(sum, (std::array{3, 3}));  // rank 0 gave 2, what its stream b had made of 1
  EXPECT_EQ(twice, (std::array{6, 6}));
}

TEST(GroupOnSeveralStreams, NullStreamAmongThem_EndWaitsForAll) {
  World world(2);
  world.each([&](int rank, tuttiComm_t comm) {
    const StreamHandle a;
    const StreamHandle b;
    std::array<int, 3> x{rank, rank + 1, rank + 2};
    for (int round = 0; round < 50; ++round) {
      std::array<int, 3> sum{};
      EXPECT_TUTTI(tuttiGroupStart());
      EXPECT_TUTTI(tuttiAllReduce(&x[0], &sum[0], 1, tuttiInt32, tuttiSum, comm, a));
      EXPECT_TUTTI(tuttiAllReduce(&x[1], &sum[1], 1, tuttiInt32, tuttiSum, comm, nullptr));
      EXPECT_TUTTI(tuttiAllReduce(&x[2], &sum[2], 1, tuttiInt32, tuttiSum, comm, b));
      EXPECT_TUTTI(tuttiGroupEnd());
      EXPECT_EQ(sum, (std::array{1, 3, 5}));
      EXPECT_EQ(tuttiStreamSynchronize(a), tuttiSuccess);
    }
    EXPECT_TUTTI(tuttiStreamSynchronize(b));
  });
}

TEST(GroupOnSeveralStreams, CommunicatorsChainedByStreams_OnOneThread_Complete) {
  constexpr int kComms = 4;
  constexpr int kRanks = 3;
  std::vector<std::unique_ptr<World>> worlds;
  for (int i = 0; i < kComms; ++i) worlds.push_back(std::make_unique<World>(kRanks));
  const std::vector<StreamHandle> streams(kComms + 1);
  std::vector<int> in(size_t{kComms} * kRanks * 2, 1);
  std::vector<int> out(in.size());
  EXPECT_TUTTI(tuttiGroupStart());
  size_t next = 0;
  for (const int i : {0, 2, 1, 3}) {  // the third joins what the first two have made
    for (int rank = 0; rank < kRanks; ++rank) {
      for (size_t s = 0; s < 2; ++s, ++next) {
        EXPECT_TUTTI(tuttiAllReduce(&in[next], &out[next], 1, tuttiInt32, tuttiSum,
                                    (*worlds[static_cast<size_t>(i)])[rank],
                                    streams[static_cast<size_t>(i) + s]));
      }
    }
  }
  EXPECT_TUTTI(tuttiGroupEnd());
  for (const StreamHandle& stream : streams) EXPECT_TUTTI(tuttiStreamSynchronize(stream));
  EXPECT_EQ(out, std::vector<int>(out.size(), kRanks));
}

TEST(GroupOnSeveralStreams, OpposingOrderOfTwoThreads_DoesNotDeadlock) {
  World first(1);
  World second(1);
  const StreamHandle a;
  const StreamHandle b;
  const auto issue = [](tuttiComm_t comm, tuttiStream_t one, tuttiStream_t other) {
    int x = 1;
    for (int round = 0; round < 500; ++round) {
      EXPECT_TUTTI(tuttiGroupStart());
      EXPECT_TUTTI(tuttiAllReduce(&x, &x, 1, tuttiInt32, tuttiSum, comm, one));
      EXPECT_TUTTI(tuttiBarrier(comm, other));
      EXPECT_TUTTI(tuttiGroupEnd());
    }
    EXPECT_TUTTI(tuttiStreamSynchronize(one));
    EXPECT_TUTTI(tuttiStreamSynchronize(other));
  };
  std::thread thread([&] { issue(second[0], b, a); });
  issue(first[0], a, b);
  thread.join();
}

TEST(GroupOnSeveralStreams, Failure_IsReportedByEachStream) {
  World world(2);
  const StreamHandle a;
  const StreamHandle b;
  int x = 1;
  EXPECT_TUTTI(tuttiGroupStart());
  EXPECT_TUTTI(tuttiAllReduce(&x, &x, 1, tuttiInt32, tuttiSum, world[0], a));
  EXPECT_TUTTI(tuttiBarrier(world[0], b));
  EXPECT_TUTTI(tuttiGroupEnd());
  EXPECT_TUTTI(tuttiCommAbort(world[0]));
  world[0] = nullptr;
  EXPECT_EQ(tuttiStreamSynchronize(a), tuttiInvalidUsage);
  EXPECT_EQ(tuttiStreamSynchronize(b), tuttiInvalidUsage);
}

}  // namespace
}  // namespace tutti::testing
