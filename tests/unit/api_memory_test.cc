// SPDX-License-Identifier: Apache-2.0
// The account of a communicator's memory against the kernel and the allocator; lazy connections;
// what idle communicators share.
#include <cstdlib>
#include <string>
#include <vector>

#include <gtest/gtest.h>

#include "tests/unit/api_memory_support.h"
#include "tests/unit/memory_maps.h"

namespace tutti::testing {
namespace {

void all_reduce(const Ranks& ranks, size_t count) {
  ranks.each([&](int rank) {
    std::vector<int> in(count, rank + 1);
    std::vector<int> out(count);
    EXPECT_TUTTI(
        tuttiAllReduce(in.data(), out.data(), count, tuttiInt, tuttiSum, ranks[rank], nullptr));
    EXPECT_EQ(out.front(), ranks.size() * (ranks.size() + 1) / 2);
    EXPECT_EQ(out.back(), out.front());
  });
}

void all_to_all(const Ranks& ranks, size_t count) {
  ranks.each([&](int rank) {
    std::vector<int> in(count * static_cast<size_t>(ranks.size()), rank);
    std::vector<int> out(in.size());
    EXPECT_TUTTI(tuttiAllToAll(in.data(), out.data(), count, tuttiInt, ranks[rank], nullptr));
    EXPECT_EQ(out.back(), ranks.size() - 1);
  });
}

void ring_of_sends(const Ranks& ranks) {
  ranks.each([&](int rank) {
    const int n = ranks.size();
    int out = rank;
    int in = -1;
    EXPECT_TUTTI(tuttiGroupStart());
    EXPECT_TUTTI(tuttiSend(&out, 1, tuttiInt, (rank + 1) % n, ranks[rank], nullptr));
    EXPECT_TUTTI(tuttiRecv(&in, 1, tuttiInt, (rank + n - 1) % n, ranks[rank], nullptr));
    EXPECT_TUTTI(tuttiGroupEnd());
    EXPECT_EQ(in, (rank + n - 1) % n);
  });
}

// Growing sets of operations; the account is checked after each.
template <typename Check>
void grow(const Ranks& ranks, Check check) {
  check("nothing");
  ranks.each([&](int rank) { EXPECT_TUTTI(tuttiBarrier(ranks[rank], nullptr)); });
  check("a barrier");
  all_reduce(ranks, 1);
  check("a small AllReduce");
  all_reduce(ranks, 1 << 18);
  check("a large AllReduce");
  all_to_all(ranks, 1 << 14);
  check("AllToAll");
  ring_of_sends(ranks);
  check("sends");
}

TEST(Memory, Shm_EveryMappingIsOnTheAccount) {
  const Mapped before = mapped("tutti-connection");
  const Mapped recordings = mapped("tutti-recorder");
  ASSERT_EQ(before.bytes, 0u);
  {
    const Ranks ranks(4, config_for("shm"));
    grow(ranks, [&](const char* after) {
      EXPECT_EQ(mapped("tutti-connection").bytes,
                ranks.sum(&tuttiCommMemStats_t::connectionBytes) +
                    ranks.sum(&tuttiCommMemStats_t::peerConnectionBytes))
          << after;
      EXPECT_LE(mapped("tutti-connection").resident,
                ranks.sum(&tuttiCommMemStats_t::connectionBytes))
          << after;
      EXPECT_EQ(mapped("tutti-memory").bytes, ranks.sum(&tuttiCommMemStats_t::boardBytes) +
                                                  ranks.sum(&tuttiCommMemStats_t::peerBoardBytes))
          << after;
    });
    EXPECT_GT(ranks.sum(&tuttiCommMemStats_t::recordingBytes), 0u);
  }
  EXPECT_EQ(mapped("tutti-connection").bytes, 0u);
  EXPECT_EQ(mapped("tutti-memory").bytes, 0u);
  EXPECT_EQ(mapped("tutti-recorder").bytes, recordings.bytes);
}

// The heap's growth is that of the account, but for small objects and what the process keeps for
// all communicators.
TEST(Memory, Inproc_TheHeapGrowsByTheAccount) {
  constexpr int kWorlds = 6;
  ::setenv("TUTTI_STAGING_POOL", "1G", 1);  // what is given back stays part of the heap
  {
    const Ranks warm(4, config_for("inproc"));
    grow(warm, [](const char*) {});
  }
  const auto heap_part = [](const Ranks& ranks) {
    return ranks.sum(&tuttiCommMemStats_t::totalBytes) -
           ranks.sum(&tuttiCommMemStats_t::boardBytes) -
           ranks.sum(&tuttiCommMemStats_t::recordingBytes);
  };
  std::vector<std::unique_ptr<Ranks>> worlds;
  const size_t before = heap_bytes();
  if (before == 0) GTEST_SKIP() << "a sanitizer's allocator is not the heap that mallinfo2 knows";
  for (int i = 0; i < kWorlds; ++i) {
    worlds.push_back(std::make_unique<Ranks>(4, config_for("inproc")));
    grow(*worlds.back(), [&](const char* after) {
      size_t charged = 0;
      for (const auto& world : worlds) charged += heap_part(*world);
      const auto grown = static_cast<double>(heap_bytes() - before);
      EXPECT_NEAR(grown / static_cast<double>(charged), 1.0, 0.03)
          << i + 1 << " communicators, " << after << ": " << grown << " of " << charged;
    });
  }
  ::unsetenv("TUTTI_STAGING_POOL");
}

TEST(Memory, Connections_AreMadeByTheFirstOperationThatNeedsThem) {
  const Ranks ranks(4, config_for("shm", "ring"));
  for (int rank = 0; rank < 4; ++rank) {
    const auto stats = memory_of(ranks[rank]);
    EXPECT_EQ(stats.sendConnections, 0u);
    EXPECT_EQ(stats.recvConnections, 0u);
    EXPECT_EQ(stats.connectionBytes, 0u);
    EXPECT_EQ(stats.peerConnectionBytes, 0u);
  }
  all_reduce(ranks, 1 << 12);
  all_reduce(ranks, 1 << 18);
  for (int rank = 0; rank < 4; ++rank) {
    const auto stats = memory_of(ranks[rank]);
    EXPECT_EQ(stats.sendConnections, 1u) << "to the next rank of the ring";
    EXPECT_EQ(stats.recvConnections, 1u) << "from the one before";
  }
}

TEST(Memory, Windows_CountWhatIsMappedOfPeers) {
  constexpr size_t kBytes = 1 << 16;
  const Ranks ranks(3, config_for("shm"));
  ranks.each([&](int rank) {
    void* memory = nullptr;
    tuttiWindow_t window = nullptr;
    EXPECT_TUTTI(tuttiMemAlloc(&memory, kBytes));
    EXPECT_TUTTI(tuttiCommWindowRegister(ranks[rank], memory, kBytes, &window, TUTTI_WIN_DEFAULT));
    EXPECT_EQ(memory_of(ranks[rank]).windowBytes, 2 * kBytes);
    EXPECT_TUTTI(tuttiCommWindowDeregister(ranks[rank], window));
    EXPECT_EQ(memory_of(ranks[rank]).windowBytes, 0u);
    EXPECT_TUTTI(tuttiMemFree(memory));
  });
}

TEST(Memory, Boards_OfPeersAreMappedOnceTheyAreUsed) {
  const Ranks ranks(3, config_for("shm"));
  ranks.each([&](int rank) {
    EXPECT_EQ(memory_of(ranks[rank]).peerBoardBytes, 0u);
    EXPECT_TUTTI(tuttiSignal((rank + 1) % 3, 0, 0, 0, ranks[rank], nullptr));
    const auto stats = memory_of(ranks[rank]);
    EXPECT_EQ(stats.peerBoardBytes, stats.boardBytes) << "all boards have one size";
  });
}

TEST(Memory, OlderStruct_OnlyItsBytesAreWritten) {
  World world(1);
  tuttiCommMemStats_t stats = TUTTI_COMM_MEM_STATS_INITIALIZER;
  stats.size = 2 * sizeof(size_t);
  stats.peakBytes = 77;
  EXPECT_TUTTI(tuttiCommGetMemStats(world[0], &stats));
  EXPECT_GT(stats.totalBytes, 0u);
  EXPECT_EQ(stats.peakBytes, 77u);
  stats.size = 1;
  expect_error(tuttiCommGetMemStats(world[0], &stats), tuttiInvalidArgument,
               {"stats.size is 1", "TUTTI_COMM_MEM_STATS_INITIALIZER"});
}

class Pools : public ::testing::TestWithParam<const char*> {};

TEST_P(Pools, SixtyFourCommunicators_ShareStagingSlotsAndScratch) {
  constexpr int kComms = 64;
  constexpr int kRanks = 4;
  constexpr size_t kCount = 1 << 18;  // 1 MiB
  constexpr size_t kPool = 8 << 20;
  ::setenv("TUTTI_STAGING_POOL", "8M", 1);
  const Ranks first(kRanks, config_for(GetParam(), "two_shot"));
  std::vector<std::vector<tuttiComm_t>> more(kRanks);
  first.each([&](int rank) {
    auto& mine = more[static_cast<size_t>(rank)];
    for (int i = 1; i < kComms; ++i) {
      mine.emplace_back();
      EXPECT_TUTTI(tuttiCommSplit(first[rank], 0, rank, &mine.back(), nullptr));
    }
    std::vector<int> in(kCount);
    std::vector<int> out(kCount);
    for (int round = 0; round < 2; ++round) {
      for (const tuttiComm_t comm : mine) {
        for (size_t i = 0; i < kCount; ++i) in[i] = value(rank, i, round);
        EXPECT_TUTTI(
            tuttiAllReduce(in.data(), out.data(), kCount, tuttiInt, tuttiSum, comm, nullptr));
        for (size_t i = 0; i < kCount; i += 997) {
          int sum = 0;
          for (int r = 0; r < kRanks; ++r) sum += value(r, i, round);
          ASSERT_EQ(out[i], sum) << "round " << round << ", element " << i;
        }
      }
    }
    EXPECT_TUTTI(tuttiBarrier(first[rank], nullptr));
  });
  ::unsetenv("TUTTI_STAGING_POOL");
  const uint64_t one = memory_of(more[0].front()).peakBytes;
  uint64_t connections = 0;
  uint64_t scratch = 0;
  for (const auto& mine : more) {
    for (const tuttiComm_t comm : mine) {
      connections += memory_of(comm).connectionBytes;
      scratch += memory_of(comm).scratchBytes;
    }
  }
  // Lines of all connections stay; and some communicators are busy when the pool is looked at.
  const size_t lines = size_t{kComms} * kRanks * (kRanks - 1) * 8192;
  EXPECT_LE(connections, kPool + lines + 4 * kRanks * one);
  EXPECT_LE(scratch, 2 * kRanks * one) << "blocks for those that run at a time";
  if (std::string(GetParam()) == "shm") {
    connections += first.sum(&tuttiCommMemStats_t::connectionBytes);
    EXPECT_LE(mapped("tutti-connection").resident, connections);
  }
  first.each([&](int rank) {
    for (const tuttiComm_t comm : more[static_cast<size_t>(rank)])
      EXPECT_TUTTI(tuttiCommDestroy(comm));
  });
}
INSTANTIATE_TEST_SUITE_P(Transports, Pools, ::testing::Values("inproc", "shm"),
                         [](const auto& info) { return std::string(info.param); });

}  // namespace
}  // namespace tutti::testing
