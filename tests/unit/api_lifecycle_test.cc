// SPDX-License-Identifier: Apache-2.0
// Streams, splits, windows, non-blocking set-up, abort and statistics of the C API.
#include <atomic>

#include "src/base/clock.h"
#include "src/base/wait.h"
#include "tests/unit/api_support.h"

namespace tutti::testing {
namespace {

constexpr int64_t kPatienceNs = 20 * kNsPerSecond;

// Polls until `done` holds; false when it takes too long.
bool eventually(const std::function<bool()>& done) {
  const Deadline deadline = Deadline::after_ns(kPatienceNs);
  while (!done()) {
    if (deadline.expired()) return false;
    sleep_ns(kNsPerMs);
  }
  return true;
}

TEST(Stream, DependentOperations_RunInOrder) {
  World world(4);
  world.each([&](int, tuttiComm_t comm) {
    const StreamHandle stream;
    int64_t x = 1;
    for (int k = 0; k < 20; ++k)
      EXPECT_TUTTI(tuttiAllReduce(&x, &x, 1, tuttiInt64, tuttiSum, comm, stream));
    EXPECT_TUTTI(tuttiStreamSynchronize(stream));
    EXPECT_EQ(x, int64_t{1} << 40);
  });
}

TEST(Stream, OneThreadWithAStreamPerRank_NeedsNoGroup) {
  World world(3);
  std::vector<StreamHandle> streams(3);
  std::vector<int> x(3, 1);
  for (int r = 0; r < 3; ++r) {
    int* mine = &x[static_cast<size_t>(r)];
    EXPECT_TUTTI(tuttiAllReduce(mine, mine, 1, tuttiInt32, tuttiSum, world[r],
                                streams[static_cast<size_t>(r)]));
  }
  for (const StreamHandle& stream : streams) EXPECT_TUTTI(tuttiStreamSynchronize(stream));
  for (const int v : x) EXPECT_EQ(v, 3);
}

TEST(Stream, TwoStreamsOfOneCommunicator_KeepIssueOrder) {
  World world(3);
  world.each([&](int, tuttiComm_t comm) {
    const StreamHandle a, b;
    int64_t x = 1;
    for (int k = 0; k < 10; ++k) {
      EXPECT_TUTTI(tuttiAllReduce(&x, &x, 1, tuttiInt64, tuttiSum, comm, a));
      EXPECT_TUTTI(tuttiAllReduce(&x, &x, 1, tuttiInt64, tuttiSum, comm, b));
    }
    EXPECT_TUTTI(tuttiAllReduce(&x, &x, 1, tuttiInt64, tuttiSum, comm, nullptr));
    int64_t expected = 1;
    for (int k = 0; k < 21; ++k) expected *= 3;
    EXPECT_EQ(x, expected);
  });
}

TEST(Stream, GroupOfSeveralRanksOnOneStream_Completes) {
  World world(3);
  const StreamHandle stream;
  std::vector<int> x(3, 1);
  for (int round = 0; round < 3; ++round) {
    world.grouped([&](int r, tuttiComm_t comm) {
      int* mine = &x[static_cast<size_t>(r)];
      EXPECT_TUTTI(tuttiAllReduce(mine, mine, 1, tuttiInt32, tuttiSum, comm, stream));
    });
  }
  EXPECT_TRUE(eventually([&] { return tuttiStreamQuery(stream) == tuttiSuccess; }));
  for (const int v : x) EXPECT_EQ(v, 27);
}

TEST(Stream, CountArrays_AreCopiedAtTheCall) {
  World world(2);
  world.each([&](int r, tuttiComm_t comm) {
    const StreamHandle stream;
    std::vector<size_t> counts{3, 1};
    std::vector<int> in(3, r), out(4, -1);
    EXPECT_TUTTI(tuttiAllGatherv(in.data(), counts[static_cast<size_t>(r)], out.data(),
                                 counts.data(), nullptr, tuttiInt32, comm, stream));
    counts.assign(2, 99);
    EXPECT_TUTTI(tuttiStreamSynchronize(stream));
    EXPECT_EQ(out, (std::vector<int>{0, 0, 0, 1}));
  });
}

TEST(Stream, DeviceScalar_IsReadWhenTheCallRuns) {
  World world(1);
  const StreamHandle stream;
  float scalar = 0, x = 2, y = 0;
  tuttiRedOp_t op;
  EXPECT_TUTTI(tuttiRedOpCreatePreMulSum(&op, &scalar, tuttiFloat32, tuttiScalarDevice, world[0]));
  scalar = 5;
  EXPECT_TUTTI(tuttiAllReduce(&x, &y, 1, tuttiFloat32, op, world[0], stream));
  EXPECT_TUTTI(tuttiRedOpDestroy(op, world[0]));
  EXPECT_TUTTI(tuttiStreamSynchronize(stream));
  EXPECT_EQ(y, 10.0f);
}

TEST(Split, ColorsAndKeys_FormOrderedCommunicators) {
  World world(5);
  world.each([&](int r, tuttiComm_t comm) {
    const int color = r == 4 ? TUTTI_SPLIT_NOCOLOR : r % 2;
    tuttiComm_t half = nullptr;
    EXPECT_TUTTI(tuttiCommSplit(comm, color, -r, &half, nullptr));
    if (color < 0) {
      EXPECT_EQ(half, nullptr);
      return;
    }
    int size = 0, rank = -1, x = r, total = 0;
    EXPECT_TUTTI(tuttiCommCount(half, &size));
    EXPECT_TUTTI(tuttiCommUserRank(half, &rank));
    EXPECT_EQ(size, 2);
    EXPECT_EQ(rank, r < 2 ? 1 : 0);
    EXPECT_TUTTI(tuttiAllReduce(&x, &total, 1, tuttiInt32, tuttiSum, half, nullptr));
    EXPECT_EQ(total, r % 2 == 0 ? 0 + 2 : 1 + 3);
    EXPECT_TUTTI(tuttiCommDestroy(half));
  });
}

// Each is a series of exchanges over the parent, which all ranks must make in the same order.
TEST(SetUpsOfOneCommunicator, TwoSplitsAndTwoWindowsInOneGroup_DoNotMix) {
  constexpr size_t kBytes = 4096;
  World world(4);
  world.each([&](int r, tuttiComm_t comm) {
    void* memory = nullptr;
    EXPECT_TUTTI(tuttiMemAlloc(&memory, 2 * kBytes));
    for (int round = 0; round < 10; ++round) {
      tuttiComm_t by_half = nullptr, by_parity = nullptr;
      tuttiWindow_t small = nullptr, large = nullptr;
      EXPECT_TUTTI(tuttiGroupStart());
      EXPECT_TUTTI(tuttiCommSplit(comm, r / 2, r, &by_half, nullptr));
      EXPECT_TUTTI(tuttiCommSplit(comm, r % 2, r, &by_parity, nullptr));
      EXPECT_TUTTI(tuttiCommWindowRegister(comm, memory, kBytes, &small, TUTTI_WIN_DEFAULT));
      EXPECT_TUTTI(tuttiCommWindowRegister(comm, memory, 2 * kBytes, &large, TUTTI_WIN_DEFAULT));
      EXPECT_TUTTI(tuttiGroupEnd());
      int half = 0, parity = 0;
      EXPECT_TUTTI(tuttiAllReduce(&r, &half, 1, tuttiInt32, tuttiSum, by_half, nullptr));
      EXPECT_TUTTI(tuttiAllReduce(&r, &parity, 1, tuttiInt32, tuttiSum, by_parity, nullptr));
      EXPECT_EQ(half, r / 2 == 0 ? 1 : 5);
      EXPECT_EQ(parity, r % 2 == 0 ? 2 : 4);
      EXPECT_TUTTI(tuttiCommWindowDeregister(comm, small));
      EXPECT_TUTTI(tuttiCommWindowDeregister(comm, large));
      EXPECT_TUTTI(tuttiCommDestroy(by_half));
      EXPECT_TUTTI(tuttiCommDestroy(by_parity));
    }
    EXPECT_TUTTI(tuttiBarrier(comm, nullptr));
    EXPECT_TUTTI(tuttiMemFree(memory));
  });
}

TEST(WindowRegister_OneRank, PrivateMemoryOrTooLarge_InvalidArgument) {
  World world(1);
  world.each([&](int, tuttiComm_t comm) {
    void* memory = nullptr;
    int own = 0;
    tuttiWindow_t window = nullptr;
    EXPECT_TUTTI(tuttiMemAlloc(&memory, 4096));
    EXPECT_EQ(tuttiCommWindowRegister(comm, &own, sizeof own, &window, 0), tuttiInvalidArgument);
    EXPECT_EQ(tuttiCommWindowRegister(comm, memory, size_t{1} << 30, &window, 0),
              tuttiInvalidArgument);
    EXPECT_TUTTI(tuttiMemFree(memory));
  });
}

TEST(Split, InsideGroup_OneThread_MakesAllParts) {
  World world(4);
  std::vector<tuttiComm_t> parts(4);
  world.grouped([&](int r, tuttiComm_t comm) {
    EXPECT_TUTTI(tuttiCommSplit(comm, r / 2, r, &parts[static_cast<size_t>(r)], nullptr));
  });
  std::vector<int> x{1, 2, 3, 4};
  EXPECT_TUTTI(tuttiGroupStart());
  for (size_t r = 0; r < 4; ++r)
    EXPECT_TUTTI(tuttiAllReduce(&x[r], &x[r], 1, tuttiInt32, tuttiSum, parts[r], nullptr));
  EXPECT_TUTTI(tuttiGroupEnd());
  EXPECT_EQ(x, (std::vector<int>{3, 3, 7, 7}));
  for (tuttiComm_t part : parts) EXPECT_TUTTI(tuttiCommDestroy(part));
}

TEST(Window, PutSignal_IsVisibleAfterWait) {
  constexpr size_t kCount = 1000;
  constexpr int kRounds = 20;
  World world(3);
  world.each([&](int r, tuttiComm_t comm) {
    void* memory = nullptr;
    EXPECT_TUTTI(tuttiMemAlloc(&memory, 3 * kCount * sizeof(int)));
    const int* received = static_cast<int*>(memory);
    tuttiWindow_t window = nullptr;
    EXPECT_TUTTI(tuttiCommWindowRegister(comm, memory, 3 * kCount * sizeof(int), &window,
                                         TUTTI_WIN_DEFAULT));
    std::vector<int> data(kCount);
    for (int round = 0; round < kRounds; ++round) {
      std::vector<tuttiWaitSignalDesc_t> waits;
      for (int peer = 0; peer < 3; ++peer) {
        for (size_t i = 0; i < kCount; ++i) data[i] = value(r, i, round);
        EXPECT_TUTTI(tuttiPutSignal(data.data(), kCount, tuttiInt32, peer, window,
                                    static_cast<size_t>(r) * kCount * sizeof(int), 3, 0, 0, comm,
                                    nullptr));
        waits.push_back({1, peer, 3, 0});
      }
      EXPECT_TUTTI(tuttiWaitSignal(3, waits.data(), comm, nullptr));
      for (int peer = 0; peer < 3; ++peer) {
        for (size_t i = 0; i < kCount; ++i)
          ASSERT_EQ(received[static_cast<size_t>(peer) * kCount + i], value(peer, i, round));
      }
      EXPECT_TUTTI(tuttiBarrier(comm, nullptr));
    }
    EXPECT_TUTTI(tuttiCommWindowDeregister(comm, window));
    EXPECT_TUTTI(tuttiMemFree(memory));
  });
}

TEST(Window, SignalsAlone_AreCountedPerPeerAndIndex) {
  World world(2);
  world.each([&](int r, tuttiComm_t comm) {
    const int peer = 1 - r;
    for (int k = 0; k < 5; ++k) EXPECT_TUTTI(tuttiSignal(peer, 0, 0, 0, comm, nullptr));
    EXPECT_TUTTI(tuttiSignal(peer, 7, 0, 0, comm, nullptr));
    tuttiWaitSignalDesc_t waits[] = {{2, peer, 0, 0}, {3, peer, 0, 0}, {1, peer, 7, 0}};
    EXPECT_TUTTI(tuttiWaitSignal(3, waits, comm, nullptr));
  });
}

TEST(Window, OrdinaryMemory_IsRefusedOnEveryRank) {
  World world(2);
  world.each([&](int r, tuttiComm_t comm) {
    std::vector<char> ordinary(4096);
    void* shared = nullptr;
    EXPECT_TUTTI(tuttiMemAlloc(&shared, 4096));
    tuttiWindow_t window = nullptr;
    const tuttiResult_t result =
        tuttiCommWindowRegister(comm, r == 0 ? ordinary.data() : shared, 4096, &window, 0);
    expect_error(result, tuttiInvalidArgument, {"tuttiMemAlloc"});
    EXPECT_EQ(window, nullptr);
    EXPECT_TUTTI(tuttiMemFree(shared));
    EXPECT_TUTTI(tuttiBarrier(comm, nullptr));
  });
}

TEST(Window, DeregisteredAfterFinalize_IsFreed) {
  World world(2);
  world.each([&](int, tuttiComm_t comm) {
    void* memory = nullptr;
    EXPECT_TUTTI(tuttiMemAlloc(&memory, 4096));
    tuttiWindow_t window = nullptr;
    EXPECT_TUTTI(tuttiCommWindowRegister(comm, memory, 4096, &window, 0));
    EXPECT_TUTTI(tuttiCommFinalize(comm));
    EXPECT_TUTTI(tuttiCommWindowDeregister(comm, window));
    expect_error(tuttiCommWindowDeregister(comm, window), tuttiInvalidArgument, {"not a live"});
    EXPECT_TUTTI(tuttiMemFree(memory));
  });
}

// Of all those that end a handle at once, one wins; the others are told.
TEST(Destroy, ManyThreadsAtOnce_OneSucceeds) {
  for (int round = 0; round < 20; ++round) {
    tuttiStream_t stream = nullptr;
    EXPECT_TUTTI(tuttiStreamCreate(&stream));
    std::atomic<int> ended{0}, refused{0};
    std::vector<std::thread> threads;
    for (int t = 0; t < 4; ++t) {
      threads.emplace_back([&] {
        const tuttiResult_t result = tuttiStreamDestroy(stream);
        ++(result == tuttiSuccess ? ended : refused);
        EXPECT_TRUE(result == tuttiSuccess || result == tuttiInvalidArgument);
      });
    }
    for (std::thread& thread : threads) thread.join();
    EXPECT_EQ(ended, 1);
    EXPECT_EQ(refused, 3);
  }
}

TEST(NonBlocking, Init_ReportsInProgressUntilAllRanksCame) {
  tuttiUniqueId id;
  EXPECT_TUTTI(tuttiGetUniqueId(&id));
  tuttiConfig_t config = TUTTI_CONFIG_INITIALIZER;
  config.blocking = 0;
  tuttiComm_t comms[2] = {};
  EXPECT_EQ(tuttiCommInitRankConfig(&comms[0], 2, id, 0, &config), tuttiInProgress);
  tuttiResult_t state = tuttiSuccess;
  EXPECT_TUTTI(tuttiCommGetAsyncError(comms[0], &state));
  EXPECT_EQ(state, tuttiInProgress);
  expect_error(tuttiBarrier(comms[0], nullptr), tuttiInvalidUsage, {"tuttiCommGetAsyncError"});
  EXPECT_EQ(tuttiCommInitRankConfig(&comms[1], 2, id, 1, &config), tuttiInProgress);
  for (tuttiComm_t comm : comms) {
    EXPECT_TRUE(eventually([&] {
      EXPECT_TUTTI(tuttiCommGetAsyncError(comm, &state));
      return state != tuttiInProgress;
    }));
    EXPECT_EQ(state, tuttiSuccess) << tuttiGetLastError(comm);
  }
  int x[2] = {1, 2};
  EXPECT_TUTTI(tuttiGroupStart());
  for (int r = 0; r < 2; ++r)
    EXPECT_TUTTI(tuttiAllReduce(&x[r], &x[r], 1, tuttiInt32, tuttiSum, comms[r], nullptr));
  EXPECT_TUTTI(tuttiGroupEnd());
  EXPECT_EQ(x[0], 3);
  for (tuttiComm_t comm : comms) {
    EXPECT_EQ(tuttiCommFinalize(comm), tuttiInProgress);
    EXPECT_TUTTI(tuttiCommDestroy(comm));
  }
}

TEST(NonBlocking, InitAborted_EndsSoon) {
  tuttiUniqueId id;
  EXPECT_TUTTI(tuttiGetUniqueId(&id));
  tuttiConfig_t config = TUTTI_CONFIG_INITIALIZER;
  config.blocking = 0;
  tuttiComm_t comm = nullptr;
  EXPECT_EQ(tuttiCommInitRankConfig(&comm, 2, id, 0, &config), tuttiInProgress);
  const int64_t start = now_ns();
  EXPECT_TUTTI(tuttiCommAbort(comm));
  EXPECT_LT(now_ns() - start, 5 * kNsPerSecond);
}

TEST(Abort, FromAnotherThread_EndsWaitingCallAndTellsPeers) {
  World world(3);
  std::atomic<int> waiting{0};
  const int64_t start = now_ns();
  world.each([&](int r, tuttiComm_t comm) {
    int x = 1;
    EXPECT_TUTTI(tuttiAllReduce(&x, &x, 1, tuttiInt32, tuttiSum, comm, nullptr));
    if (r == 2) {
      EXPECT_TRUE(eventually([&] { return waiting.load() == 2; }));
      EXPECT_TUTTI(tuttiCommAbort(comm));
      world[2] = nullptr;
      return;
    }
    ++waiting;
    const tuttiResult_t result = tuttiAllReduce(&x, &x, 1, tuttiInt32, tuttiSum, comm, nullptr);
    expect_error(result, tuttiRemoteError, {"AllReduce #1", "rank 2 has aborted"});
    tuttiResult_t state = tuttiSuccess;
    EXPECT_TUTTI(tuttiCommGetAsyncError(comm, &state));
    EXPECT_EQ(state, tuttiRemoteError);
    EXPECT_EQ(tuttiBarrier(comm, nullptr), tuttiRemoteError) << "the first failure stays";
  });
  EXPECT_LT(now_ns() - start, 10 * kNsPerSecond);
}

TEST(Abort, WhileThisRankWaits_EndsItsCall) {
  World world(2);
  tuttiComm_t comm = world[0];
  std::atomic<bool> issued{false};
  std::thread caller([&] {
    int x = 1;
    issued = true;
    expect_error(tuttiAllReduce(&x, &x, 1, tuttiInt32, tuttiSum, comm, nullptr), tuttiInvalidUsage,
                 {"aborted"});
  });
  EXPECT_TRUE(eventually([&] { return issued.load(); }));
  sleep_ns(50 * kNsPerMs);
  const int64_t start = now_ns();
  EXPECT_TUTTI(tuttiCommAbort(comm));
  EXPECT_LT(now_ns() - start, 2 * kNsPerSecond);
  world[0] = nullptr;
  caller.join();
}

TEST(Abort, QueuedStreamOperation_IsReportedByTheStream) {
  World world(2);
  tuttiStream_t stream = nullptr;
  EXPECT_TUTTI(tuttiStreamCreate(&stream));
  int x = 1;
  EXPECT_TUTTI(tuttiAllReduce(&x, &x, 1, tuttiInt32, tuttiSum, world[0], stream));
  EXPECT_EQ(tuttiStreamQuery(stream), tuttiInProgress);
  EXPECT_TUTTI(tuttiCommAbort(world[0]));
  world[0] = nullptr;
  expect_error(tuttiStreamSynchronize(stream), tuttiInvalidUsage, {"aborted"});
  EXPECT_TUTTI(tuttiStreamSynchronize(stream));
  EXPECT_TUTTI(tuttiStreamDestroy(stream));
}

TEST(Timeout, SilentPeer_IsNamed) {
  tuttiUniqueId id;
  EXPECT_TUTTI(tuttiGetUniqueId(&id));
  tuttiConfig_t config = TUTTI_CONFIG_INITIALIZER;
  config.timeoutSeconds = 0.2;
  config.commName = "impatient";
  tuttiComm_t comms[2] = {};
  EXPECT_TUTTI(tuttiGroupStart());
  for (int r = 0; r < 2; ++r) EXPECT_TUTTI(tuttiCommInitRankConfig(&comms[r], 2, id, r, &config));
  EXPECT_TUTTI(tuttiGroupEnd());
  std::thread([&] {
    int x = 1;
    expect_error(tuttiAllReduce(&x, &x, 1, tuttiInt32, tuttiSum, comms[0], nullptr),
                 tuttiRemoteError,
                 {"AllReduce #0", "rank 0 of 2 of 'impatient'", "never entered AllReduce #0",
                  "rank 1", "timeoutSeconds"});
  }).join();
  for (tuttiComm_t comm : comms) EXPECT_TUTTI(tuttiCommDestroy(comm));
}

TEST(Mismatch, DifferentCounts_AreNoticedByEveryRank) {
  World world(2);
  world.each([&](int r, tuttiComm_t comm) {
    std::vector<int> in(8), out(8);
    const tuttiResult_t result =
        tuttiAllReduce(in.data(), out.data(), r == 0 ? 4 : 5, tuttiInt32, tuttiSum, comm, nullptr);
    EXPECT_EQ(result, tuttiInvalidUsage) << tuttiGetLastError(comm);
  });
}

TEST(Stats, Operations_AreCountedAndNamed) {
  World world(2);
  world.each([&](int, tuttiComm_t comm) {
    int x = 1;
    for (int k = 0; k < 3; ++k)
      EXPECT_TUTTI(tuttiAllReduce(&x, &x, 1, tuttiInt32, tuttiSum, comm, nullptr));
    tuttiCommStats_t stats = TUTTI_COMM_STATS_INITIALIZER;
    EXPECT_TUTTI(tuttiCommGetStats(comm, &stats));
    EXPECT_EQ(stats.operations, 3u);
    EXPECT_GT(stats.messages[0], 0u);
    EXPECT_EQ(stats.messages[1] + stats.messages[2] + stats.messages[3], 0u);
    EXPECT_STREQ(stats.lastProtocol, "inline");
    EXPECT_STRNE(stats.lastAlgorithm, "");
    EXPECT_GT(stats.memoryBytes, 0u);
    EXPECT_GE(stats.memoryPeakBytes, stats.memoryBytes);
    EXPECT_TUTTI(tuttiBarrier(comm, nullptr));
    EXPECT_TUTTI(tuttiCommGetStats(comm, &stats));
    EXPECT_EQ(stats.operations, 4u);
  });
}

TEST(Finalize, LaterCalls_AreRefused) {
  World world(1);
  int x = 1;
  EXPECT_TUTTI(tuttiCommFinalize(world[0]));
  expect_error(tuttiAllReduce(&x, &x, 1, tuttiInt32, tuttiSum, world[0], nullptr),
               tuttiInvalidUsage, {"finalized"});
  int count = 0;
  EXPECT_TUTTI(tuttiCommCount(world[0], &count));
  EXPECT_EQ(count, 1);
}

}  // namespace
}  // namespace tutti::testing
