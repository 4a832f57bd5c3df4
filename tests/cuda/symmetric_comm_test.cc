// SPDX-License-Identifier: Apache-2.0
// Communicators whose calls go by symmetric memory: splits, one thread with several ranks, calls
// that differ, ranks that are missing or have died, and when there is none. (tests/conformance has
// their results.)
#include <cstdlib>
#include <functional>
#include <latch>
#include <string>
#include <thread>
#include <vector>

#include <gtest/gtest.h>

#include "tests/cuda/executor_calls.h"
#include "tutti/tutti.h"

namespace tutti::test {
namespace {

constexpr size_t kCount = 5000;

void require(tuttiResult_t result) {
  if (result != tuttiSuccess) std::fprintf(stderr, "%s\n", tuttiGetLastError(nullptr));
  WANT(result == tuttiSuccess);
}

struct RankBuffers {
  explicit RankBuffers(const Gpus& gpus, int rank)
      : from(gpus.upload(rank, std::vector<float>(kCount, static_cast<float>(rank + 1)))),
        to(gpus.alloc_of<float>(rank, kCount)),
        stream(reinterpret_cast<tuttiStream_t>(gpus.stream(rank))) {}
  float* from;
  float* to;
  tuttiStream_t stream;
};

tuttiResult_t sum_up(const RankBuffers& of, tuttiComm_t comm, size_t count = kCount) {
  return tuttiAllReduce(of.from, of.to, count, tuttiFloat32, tuttiSum, comm, of.stream);
}
void want_sum(const RankBuffers& of, float sum) {
  OK(cuda::cuStreamSynchronize(reinterpret_cast<cuda::Stream>(of.stream)));
  Bytes wanted(4 * kCount);
  const std::vector<float> values(kCount, sum);
  memcpy(wanted.data(), values.data(), wanted.size());
  WANT(Gpus::read(of.to, wanted.size()) == wanted);
}
void want_carried(tuttiComm_t comm, const char* algorithm, const char* protocol) {
  tuttiCommStats_t stats = TUTTI_COMM_STATS_INITIALIZER;
  require(tuttiCommGetStats(comm, &stats));
  WANT(stats.lastAlgorithm == std::string(algorithm));
  WANT(stats.lastProtocol == std::string(protocol));
  WANT(stats.transports == std::string("cuda_p2p"));
}

// Ranks as threads, a GPU each; body(rank, communicator).
using Body = std::function<void(int, tuttiComm_t)>;
void with_ranks(const Gpus& gpus, const char* algorithm, const Body& body) {
  tuttiUniqueId id;
  require(tuttiGetUniqueId(&id));
  std::vector<std::thread> threads;
  threads.reserve(static_cast<size_t>(gpus.count()));
  for (int r = 0; r < gpus.count(); ++r) {
    threads.emplace_back([&, r] {
      tuttiConfig_t config = TUTTI_CONFIG_INITIALIZER;
      config.device = r;
      config.algorithm = algorithm;
      config.timeoutSeconds = 5;
      tuttiComm_t comm = nullptr;
      require(tuttiCommInitRankConfig(&comm, gpus.count(), id, r, &config));
      body(r, comm);
    });
  }
  for (std::thread& thread : threads) thread.join();
}

const cudasim::test::Env kEnvironment = {{"TUTTI_GPU_THREADS", "64"}};

TEST_F(DeviceExecutorTest, Split_OfSomeRanks_HasSymmetricMemoryOfItsOwn) {
  expect_well(kEnvironment, [] {
    const Gpus gpus(5);
    with_ranks(gpus, "two_shot", [&](int rank, tuttiComm_t comm) {
      const RankBuffers buffers(gpus, rank);
      // {0, 2}, {1}, {3} nobody's, {4} alone: colors exchange differently often.
      const int colors[] = {0, 1, 0, TUTTI_SPLIT_NOCOLOR, 2};
      tuttiComm_t half = nullptr;
      require(tuttiCommSplit(comm, colors[rank], 0, &half, nullptr));
      require(sum_up(buffers, comm));
      want_sum(buffers, 15);
      want_carried(comm, "two_shot", "mapped");
      if (half != nullptr) {
        require(sum_up(buffers, half));
        want_sum(buffers, colors[rank] == 0 ? 4 : static_cast<float>(rank + 1));
        if (colors[rank] == 0) want_carried(half, "two_shot", "mapped");
        require(tuttiCommDestroy(half));
      }
      require(tuttiCommDestroy(comm));
    });
  });
}

TEST_F(DeviceExecutorTest, OneThread_SeveralRanksInAGroup_NeverWaitsForItself) {
  auto environment = kEnvironment;
  environment["TUTTI_ALGO"] = "one_shot";
  environment["TUTTI_SYMMETRIC_BYTES"] = "32K";
  expect_well(environment, [] {
    constexpr int kRanks = 4;
    const Gpus gpus(kRanks);
    const int devices[kRanks] = {0, 1, 2, 3};
    tuttiComm_t comms[kRanks] = {};
    require(tuttiCommInitAll(comms, kRanks, devices));
    std::vector<RankBuffers> buffers;
    buffers.reserve(kRanks);
    for (int r = 0; r < kRanks; ++r) buffers.emplace_back(gpus, r);
    for (int call = 0; call < 2; ++call) {
      require(tuttiGroupStart());
      for (int r = 0; r < kRanks; ++r) require(sum_up(buffers[r], comms[r]));
      require(tuttiGroupEnd());
    }
    for (int r = 0; r < kRanks; ++r) {
      gpus.use(r);
      want_sum(buffers[r], 10);
      want_carried(comms[r], "one_shot", "mapped");
    }
    for (tuttiComm_t comm : comms) require(tuttiCommDestroy(comm));
  });
}

// Both counts fit: only the barrier tells.
TEST_F(DeviceExecutorTest, CallsThatDiffer_OnSymmetricMemory_FailOnAllRanks) {
  expect_well(kEnvironment, [] {
    const Gpus gpus(3);
    with_ranks(gpus, "one_shot", [&](int rank, tuttiComm_t comm) {
      const RankBuffers buffers(gpus, rank);
      require(sum_up(buffers, comm));
      want_sum(buffers, 6);
      require(sum_up(buffers, comm, rank == 1 ? kCount - 1 : kCount));
      tuttiResult_t failure = tuttiSuccess;
      await([&] {
        require(tuttiCommGetAsyncError(comm, &failure));
        return failure != tuttiSuccess;
      });
      WANT(failure == tuttiInvalidUsage || failure == tuttiRemoteError);
      require(tuttiCommAbort(comm));
    });
  });
}

TEST_F(DeviceExecutorTest, RankThatIsMissing_OnSymmetricMemory_IsNamed) {
  expect_well(kEnvironment, [] {
    const Gpus gpus(3);
    std::latch failed(3);
    with_ranks(gpus, "one_shot", [&](int rank, tuttiComm_t comm) {
      const RankBuffers buffers(gpus, rank);
      if (rank != 1) {
        require(sum_up(buffers, comm));
        tuttiResult_t failure = tuttiSuccess;
        await([&] {
          require(tuttiCommGetAsyncError(comm, &failure));
          return failure != tuttiSuccess;
        });
        const std::string said = tuttiGetLastError(comm);
        if (said.find("rank 1") == std::string::npos) std::fprintf(stderr, "%s\n", said.c_str());
        WANT(said.find("rank 1") != std::string::npos);
      }
      failed.arrive_and_wait();
      require(tuttiCommAbort(comm));
    });
  });
}

TEST_F(DeviceExecutorTest, ProcessThatEnds_OnSymmetricMemory_IsNamedAtOnce) {
  constexpr int kRanks = 3;
  const auto outcomes = cudasim::test::run_all(
      kRanks, kEnvironment, [](int rank, const cudasim::test::Channels& channels) {
        tuttiUniqueId id;
        if (rank == 0) {
          require(tuttiGetUniqueId(&id));
          for (int r = 1; r < kRanks; ++r) channels.send_bytes(r, &id, sizeof(id));
        } else {
          channels.receive_bytes(rank, &id, sizeof(id));
        }
        const Gpus gpus(kRanks);
        tuttiConfig_t config = TUTTI_CONFIG_INITIALIZER;
        config.device = rank;
        config.algorithm = "two_shot";
        config.timeoutSeconds = 0;  // none: only the death tells
        tuttiComm_t comm = nullptr;
        require(tuttiCommInitRankConfig(&comm, kRanks, id, rank, &config));
        const RankBuffers buffers(gpus, rank);
        require(sum_up(buffers, comm));
        want_sum(buffers, 6);
        want_carried(comm, "two_shot", "mapped");
        if (rank == 1) std::_Exit(0);
        require(sum_up(buffers, comm));
        tuttiResult_t failure = tuttiSuccess;
        await([&] {
          require(tuttiCommGetAsyncError(comm, &failure));
          return failure != tuttiSuccess;
        });
        const std::string said = tuttiGetLastError(comm);
        if (said.find("rank 1") == std::string::npos) std::fprintf(stderr, "%s\n", said.c_str());
        WANT(failure == tuttiRemoteError && said.find("rank 1") != std::string::npos);
        require(tuttiCommAbort(comm));
      });
  for (const auto& outcome : outcomes)
    EXPECT_TRUE(outcome.ended_well) << "signal " << outcome.signal << "\n" << outcome.said;
}

// The sum over n GPUs is right, and no byte of it went by symmetric memory.
void sum_by_connections(int n, const char* algorithm, float sum) {
  const Gpus gpus(n);
  with_ranks(gpus, algorithm, [&](int rank, tuttiComm_t comm) {
    const RankBuffers buffers(gpus, rank);
    require(sum_up(buffers, comm));
    want_sum(buffers, sum);
    tuttiCommStats_t stats = TUTTI_COMM_STATS_INITIALIZER;
    require(tuttiCommGetStats(comm, &stats));
    WANT(stats.bytes[2] == 0 && stats.bytes[0] + stats.bytes[1] != 0);
    require(tuttiCommDestroy(comm));
  });
}

TEST_F(DeviceExecutorTest, WithoutSymmetricMemory_ConnectionsCarry) {
  auto environment = kEnvironment;
  environment["TUTTI_SYMMETRIC_BYTES"] = "0";
  expect_well(environment, [] { sum_by_connections(2, "one_shot", 3); });
}

// One rank can't make its memory: all do without, and say why where the switch was asked for.
TEST_F(DeviceExecutorTest, MemoryThatCannotBeMade_IsDoneWithout_UnlessAskedFor) {
  auto environment = kEnvironment;
  environment["CUDASIM_FAIL"] = "cuMemExportToShareableHandle:1=OUT_OF_MEMORY";
  expect_well(environment, [] { sum_by_connections(3, "two_shot", 6); });
  const auto refused = [](int n, const char* topology_says) {
    const Gpus gpus(n);
    tuttiUniqueId id;
    require(tuttiGetUniqueId(&id));
    std::vector<std::thread> threads;
    threads.reserve(static_cast<size_t>(n));
    for (int r = 0; r < n; ++r) {
      threads.emplace_back([&, r] {
        tuttiConfig_t config = TUTTI_CONFIG_INITIALIZER;
        config.device = r;
        config.algorithm = "nvls";
        tuttiComm_t comm = nullptr;
        WANT(tuttiCommInitRankConfig(&comm, n, id, r, &config) == tuttiInvalidArgument);
        const std::string said = tuttiGetLastError(nullptr);
        if (said.find(topology_says) == std::string::npos)
          std::fprintf(stderr, "%s\n", said.c_str());
        WANT(said.find(topology_says) != std::string::npos);
      });
    }
    for (std::thread& thread : threads) thread.join();
  };
  environment["CUDASIM_FAIL"] = "cuMulticastAddDevice:2=UNKNOWN";
  expect_well(environment, [&] { refused(3, "multicast object"); });
  environment.erase("CUDASIM_FAIL");
  environment["CUDASIM_TOPOLOGY"] = "dgx-a100";
  expect_well(environment, [&] { refused(2, "no switch that multicasts"); });
}

TEST_F(DeviceExecutorTest, Nvls_WhatTheSwitchCanNotDo_GoesByAnotherWay) {
  expect_well(kEnvironment, [] {
    const Gpus gpus(3);
    with_ranks(gpus, "nvls", [&](int rank, tuttiComm_t comm) {
      const RankBuffers buffers(gpus, rank);
      require(sum_up(buffers, comm));
      want_sum(buffers, 6);
      want_carried(comm, "nvls", "mapped");
      require(tuttiAllReduce(buffers.from, buffers.to, kCount, tuttiFloat32, tuttiProd, comm,
                             buffers.stream));
      want_sum(buffers, 6);  // 1 * 2 * 3
      tuttiCommStats_t stats = TUTTI_COMM_STATS_INITIALIZER;
      require(tuttiCommGetStats(comm, &stats));
      WANT(stats.lastAlgorithm != std::string("nvls"));
      require(tuttiCommDestroy(comm));
    });
  });
}

}  // namespace
}  // namespace tutti::test
