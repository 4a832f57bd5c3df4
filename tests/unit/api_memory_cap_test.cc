// SPDX-License-Identifier: Apache-2.0
// Memory caps around each boundary: what fits runs, what does not is refused on every rank at once,
// and the communicator goes on.
#include <mutex>
#include <string>
#include <vector>

#include <gtest/gtest.h>

#include "src/base/clock.h"
#include "tests/unit/api_memory_support.h"

namespace tutti::testing {
namespace {

constexpr int kRanks = 4;
constexpr size_t kCount = 1 << 18;              // 1 MiB
constexpr int64_t kSoonNs = 20 * kNsPerSecond;  // far below the time-out, far above what it takes

tuttiConfig_t capped(const char* algorithm, size_t cap) {
  tuttiConfig_t config = config_for("shm", algorithm);
  config.memoryCapBytes = cap;
  return config;
}

// What every rank got, and said.
struct Answers {
  std::vector<tuttiResult_t> results{kRanks, tuttiNumResults};
  std::vector<std::string> texts{kRanks};
  bool all(tuttiResult_t result) const {
    return results == std::vector<tuttiResult_t>(kRanks, result);
  }
};

template <typename Call>
Answers ask(const Ranks& ranks, Call call) {
  Answers answers;
  const int64_t begun = now_ns();
  ranks.each([&](int rank) {
    const auto at = static_cast<size_t>(rank);
    answers.results[at] = call(rank);
    if (answers.results[at] != tuttiSuccess) answers.texts[at] = tuttiGetLastError(nullptr);
  });
  EXPECT_LT(now_ns() - begun, kSoonNs);
  return answers;
}

Answers all_reduce(const Ranks& ranks, size_t count = kCount) {
  return ask(ranks, [&](int rank) {
    std::vector<int> in(count, rank + 1);
    std::vector<int> out(count);
    const tuttiResult_t result =
        tuttiAllReduce(in.data(), out.data(), count, tuttiInt, tuttiSum, ranks[rank], nullptr);
    EXPECT_EQ(out.back(), result == tuttiSuccess ? kRanks * (kRanks + 1) / 2 : 0);
    return result;
  });
}

Answers barrier(const Ranks& ranks) {
  return ask(ranks, [&](int rank) { return tuttiBarrier(ranks[rank], nullptr); });
}

void expect_refused(const Answers& answers, const std::vector<std::string>& fragments) {
  EXPECT_TRUE(answers.all(tuttiSystemError));
  for (const std::string& text : answers.texts) {
    for (const std::string& fragment : fragments)
      EXPECT_NE(text.find(fragment), std::string::npos) << "no '" << fragment << "' in: " << text;
  }
}

// What a barrier and one large AllReduce come to on the rank that holds most.
struct Needs {
  size_t nothing = 0, barrier = 0, both = 0;
};
Needs needs(const char* algorithm) {
  const Ranks ranks(kRanks, capped(algorithm, 1 << 30));
  Needs needs;
  const auto most = [&] {
    uint64_t bytes = 0;
    for (int rank = 0; rank < kRanks; ++rank)
      bytes = std::max(bytes, memory_of(ranks[rank]).totalBytes);
    return bytes;
  };
  needs.nothing = most();
  EXPECT_TRUE(barrier(ranks).all(tuttiSuccess));
  needs.barrier = most();
  EXPECT_TRUE(all_reduce(ranks).all(tuttiSuccess));
  needs.both = most();
  return needs;
}

TEST(MemoryCap, AroundEachBoundary_RunsOrIsRefusedEverywhere_AndGoesOn) {
  const Needs need = needs("two_shot");
  ASSERT_LT(need.nothing, need.barrier);
  ASSERT_LT(need.barrier, need.both);
  const size_t caps[] = {need.nothing,     need.barrier - 1, need.barrier,
                         need.barrier + 1, need.both - 1,    need.both};
  for (const size_t cap : caps) {
    SCOPED_TRACE("cap " + std::to_string(cap));
    const Ranks ranks(kRanks, capped("two_shot", cap));
    for (int round = 0; round < 3; ++round) {
      EXPECT_TRUE(barrier(ranks).all(cap >= need.barrier ? tuttiSuccess : tuttiSystemError));
      const Answers answers = all_reduce(ranks);
      if (cap >= need.both) {
        EXPECT_TRUE(answers.all(tuttiSuccess));
        continue;
      }
      expect_refused(answers, {"AllReduce #", "memory cap reached", std::to_string(cap) + " bytes",
                               "TUTTI_MEMORY_CAP", "TUTTI_SLOT_BYTES", "can go on"});
    }
    for (int rank = 0; rank < kRanks; ++rank) {
      const auto stats = memory_of(ranks[rank]);
      EXPECT_EQ(stats.capBytes, cap);
      EXPECT_LE(stats.peakBytes, cap);
      tuttiResult_t error = tuttiNumResults;
      EXPECT_TUTTI(tuttiCommGetAsyncError(ranks[rank], &error));
      EXPECT_EQ(error, tuttiSuccess) << "nothing is broken";
    }
  }
}

TEST(MemoryCap, LessThanTheCommunicatorItself_InitFailsOnEveryRank) {
  const size_t cap = needs("two_shot").nothing - 1;
  tuttiUniqueId id;
  EXPECT_TUTTI(tuttiGetUniqueId(&id));
  std::vector<std::thread> threads;
  for (int rank = 0; rank < kRanks; ++rank) {
    threads.emplace_back([&, rank] {
      tuttiConfig_t config = rank == 2 ? capped("two_shot", cap) : config_for("shm", "two_shot");
      tuttiComm_t comm = nullptr;
      expect_error(tuttiCommInitRankConfig(&comm, kRanks, id, rank, &config), tuttiSystemError,
                   {"memory cap reached", std::to_string(cap), "TUTTI_MEMORY_CAP"});
    });
  }
  for (std::thread& thread : threads) thread.join();
}

TEST(MemoryCap, OfOneRankOnly_AllRefuseAndNameIt) {
  const Needs need = needs("two_shot");
  tuttiUniqueId id;
  EXPECT_TUTTI(tuttiGetUniqueId(&id));
  std::vector<tuttiComm_t> comms(kRanks);
  const auto each = [&](auto body) {
    std::vector<std::thread> threads;
    for (int rank = 0; rank < kRanks; ++rank) threads.emplace_back([&, rank] { body(rank); });
    for (std::thread& thread : threads) thread.join();
  };
  each([&](int rank) {
    tuttiConfig_t config = capped("two_shot", rank == 2 ? need.both - 1 : 0);
    tuttiComm_t& comm = comms[static_cast<size_t>(rank)];
    EXPECT_TUTTI(tuttiCommInitRankConfig(&comm, kRanks, id, rank, &config));
    std::vector<int> data(kCount, 1);
    EXPECT_TUTTI(tuttiBarrier(comm, nullptr));
    expect_error(
        tuttiAllReduce(data.data(), data.data(), kCount, tuttiInt, tuttiSum, comm, nullptr),
        tuttiSystemError, {"rank 2 may hold"});
    EXPECT_EQ(data.front(), 1) << "inputs are intact";
    EXPECT_TUTTI(tuttiBarrier(comm, nullptr));
    EXPECT_TUTTI(tuttiCommDestroy(comm));
  });
}

TEST(MemoryCap, AlgorithmLeftToTheLibrary_OneThatFitsIsUsed) {
  const Needs ring = needs("ring");
  const Needs two_shot = needs("two_shot");
  ASSERT_LT(ring.both, two_shot.both);
  const Ranks ranks(kRanks, capped(nullptr, ring.both));
  EXPECT_TRUE(all_reduce(ranks).all(tuttiSuccess));
  tuttiCommStats_t stats = TUTTI_COMM_STATS_INITIALIZER;
  EXPECT_TUTTI(tuttiCommGetStats(ranks[0], &stats));
  EXPECT_STRNE(stats.lastAlgorithm, "two_shot");
  EXPECT_LE(stats.memoryPeakBytes, ring.both);
}

TEST(MemoryCap, OnAStream_TheRefusalComesWithSynchronize) {
  const Needs need = needs("two_shot");
  const Ranks ranks(kRanks, capped("two_shot", need.both - 1));
  ranks.each([&](int rank) {
    std::vector<int> data(kCount, 1);
    tuttiStream_t stream = nullptr;
    EXPECT_TUTTI(tuttiStreamCreate(&stream));
    EXPECT_TUTTI(tuttiBarrier(ranks[rank], stream));
    EXPECT_TUTTI(
        tuttiAllReduce(data.data(), data.data(), kCount, tuttiInt, tuttiSum, ranks[rank], stream));
    EXPECT_TUTTI(tuttiBarrier(ranks[rank], stream));
    expect_error(tuttiStreamSynchronize(stream), tuttiSystemError, {"memory cap reached"});
    EXPECT_TUTTI(tuttiBarrier(ranks[rank], stream));
    EXPECT_TUTTI(tuttiStreamSynchronize(stream));
    EXPECT_TUTTI(tuttiStreamDestroy(stream));
  });
}

TEST(MemoryCap, InAGroup_TheOtherCallsAreMade) {
  const Needs need = needs("two_shot");
  const Ranks ranks(kRanks, capped("two_shot", need.both - 1));
  ranks.each([&](int rank) {
    std::vector<int> large(kCount, 1);
    int small = rank;
    EXPECT_TUTTI(tuttiBarrier(ranks[rank], nullptr));
    EXPECT_TUTTI(tuttiGroupStart());
    EXPECT_TUTTI(tuttiAllReduce(large.data(), large.data(), kCount, tuttiInt, tuttiSum, ranks[rank],
                                nullptr));
    EXPECT_TUTTI(tuttiBarrier(ranks[rank], nullptr));
    expect_error(tuttiGroupEnd(), tuttiSystemError, {"AllReduce #1", "memory cap reached"});
    EXPECT_EQ(small, rank);
    EXPECT_EQ(large.front(), 1);
    EXPECT_TUTTI(tuttiBarrier(ranks[rank], nullptr));
  });
}

// What only one rank refuses, because two ranks alone know of it, breaks the communicator; the
// others hear why at once.
TEST(MemoryCap, SendThatDoesNotFit_EveryRankIsTold) {
  const size_t cap = needs("ring").nothing + (size_t{1} << 16);
  const Ranks ranks(kRanks, capped("ring", cap));
  const Answers answers = ask(ranks, [&](int rank) {
    int word = rank;
    if (rank == 0) return tuttiSend(&word, 1, tuttiInt, 1, ranks[0], nullptr);
    return tuttiRecv(&word, 1, tuttiInt, rank - 1, ranks[rank], nullptr);
  });
  EXPECT_EQ(answers.results[0], tuttiSystemError);
  for (int rank = 0; rank < kRanks; ++rank) {
    const std::string& text = answers.texts[static_cast<size_t>(rank)];
    EXPECT_NE(answers.results[static_cast<size_t>(rank)], tuttiSuccess);
    EXPECT_NE(text.find("memory cap reached"), std::string::npos) << rank << ": " << text;
    EXPECT_NE(text.find(std::to_string(cap)), std::string::npos) << rank << ": " << text;
  }
}

// A rank that calls something else than what the others refuse is still found out.
TEST(MemoryCap, RefusedHereAndAnotherCallThere_IsAMismatch) {
  const Needs need = needs("two_shot");
  const Ranks ranks(kRanks, capped("two_shot", need.both - 1));
  EXPECT_TRUE(barrier(ranks).all(tuttiSuccess));
  const Answers answers = ask(ranks, [&](int rank) {
    std::vector<int> data(kCount, 1);
    const tuttiResult_t first = rank == 3
                                    ? tuttiBarrier(ranks[rank], nullptr)
                                    : tuttiAllReduce(data.data(), data.data(), kCount, tuttiInt,
                                                     tuttiSum, ranks[rank], nullptr);
    // One that hears of the mismatch before it calls is told so at once.
    if (rank == 3 || first == tuttiInvalidUsage) return first;
    EXPECT_EQ(first, tuttiSystemError);
    return tuttiBarrier(ranks[rank], nullptr);
  });
  EXPECT_TRUE(answers.all(tuttiInvalidUsage));
}

}  // namespace
}  // namespace tutti::testing
