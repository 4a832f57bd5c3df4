// SPDX-License-Identifier: Apache-2.0
// Every collective of the C API against its definition, over ranks that are threads and over one
// thread that drives all of them.
#include <algorithm>
#include <atomic>
#include <cstring>

#include "tests/unit/api_support.h"

namespace tutti::testing {
namespace {

using Ints = std::vector<int>;

struct Case {
  int n = 1;
  size_t count = 0;
  bool in_place = false;
  bool grouped = false;
};

std::string name_of(const ::testing::TestParamInfo<Case>& info) {
  const Case& c = info.param;
  return "Ranks" + std::to_string(c.n) + "_Count" + std::to_string(c.count) +
         (c.in_place ? "_InPlace" : "_OutOfPlace") + (c.grouped ? "_OneThread" : "_Threads");
}

std::vector<Case> cases() {
  std::vector<Case> all;
  for (const int n : {1, 2, 3, 4, 5, 8}) {
    for (const size_t count : {size_t{0}, size_t{1}, size_t{13}, size_t{5000}, size_t{200000}}) {
      if (n > 4 && count > 5000) continue;
      for (const bool in_place : {false, true}) {
        for (const bool grouped : {false, true}) all.push_back({n, count, in_place, grouped});
      }
    }
  }
  return all;
}

class Collectives : public ::testing::TestWithParam<Case> {
 protected:
  // Runs `body` for every rank, in the way of the case.
  void run(const std::function<void(int, tuttiComm_t)>& body) {
    World world(n());
    if (GetParam().grouped) {
      world.grouped(body);
    } else {
      world.each(body);
    }
  }
  int n() const { return GetParam().n; }
  size_t blocks() const { return static_cast<size_t>(n()); }
  size_t count() const { return GetParam().count; }
  bool in_place() const { return GetParam().in_place; }

  // Buffers of every rank.
  std::vector<Ints> filled(size_t elems) const {
    std::vector<Ints> all(blocks(), Ints(elems));
    for (int rank = 0; rank < n(); ++rank) {
      for (size_t i = 0; i < elems; ++i) all[static_cast<size_t>(rank)][i] = value(rank, i);
    }
    return all;
  }
  std::vector<Ints> blank(size_t elems) const {
    return std::vector<Ints>(blocks(), Ints(elems, -1));
  }
  int sum(size_t index) const {
    int total = 0;
    for (int rank = 0; rank < n(); ++rank) total += value(rank, index);
    return total;
  }
};
INSTANTIATE_TEST_SUITE_P(Matrix, Collectives, ::testing::ValuesIn(cases()), name_of);

TEST_P(Collectives, AllReduce_Sum_IsSumOfInputs) {
  auto in = filled(count());
  auto out = blank(count());
  run([&](int r, tuttiComm_t comm) {
    int* send = in[static_cast<size_t>(r)].data();
    int* recv = in_place() ? send : out[static_cast<size_t>(r)].data();
    EXPECT_TUTTI(tuttiAllReduce(send, recv, count(), tuttiInt32, tuttiSum, comm, nullptr));
  });
  for (const Ints& result : in_place() ? in : out) {
    for (size_t i = 0; i < count(); ++i) ASSERT_EQ(result[i], sum(i)) << i;
  }
}

TEST_P(Collectives, Reduce_Sum_ReachesRootOnly) {
  const int root = n() - 1;
  auto in = filled(count());
  auto out = blank(count());
  run([&](int r, tuttiComm_t comm) {
    int* send = in[static_cast<size_t>(r)].data();
    int* recv = r != root ? nullptr : in_place() ? send : out[static_cast<size_t>(r)].data();
    EXPECT_TUTTI(tuttiReduce(send, recv, count(), tuttiInt32, tuttiSum, root, comm, nullptr));
  });
  const Ints& result = in_place() ? in.back() : out.back();
  for (size_t i = 0; i < count(); ++i) ASSERT_EQ(result[i], sum(i)) << i;
}

TEST_P(Collectives, Broadcast_FromLastRank_ReachesAll) {
  const int root = n() - 1;
  auto in = filled(count());
  auto out = blank(count());
  run([&](int r, tuttiComm_t comm) {
    int* mine = in[static_cast<size_t>(r)].data();
    if (in_place()) {
      EXPECT_TUTTI(tuttiBcast(mine, count(), tuttiInt32, root, comm, nullptr));
    } else {
      EXPECT_TUTTI(tuttiBroadcast(r == root ? mine : nullptr, out[static_cast<size_t>(r)].data(),
                                  count(), tuttiInt32, root, comm, nullptr));
    }
  });
  for (const Ints& result : in_place() ? in : out) {
    for (size_t i = 0; i < count(); ++i) ASSERT_EQ(result[i], value(root, i)) << i;
  }
}

TEST_P(Collectives, AllGather_Blocks_AreInRankOrder) {
  auto in = filled(count());
  auto out = blank(count() * blocks());
  run([&](int r, tuttiComm_t comm) {
    int* recv = out[static_cast<size_t>(r)].data();
    int* own = recv + static_cast<size_t>(r) * count();
    const Ints& mine = in[static_cast<size_t>(r)];
    if (in_place()) std::copy(mine.begin(), mine.end(), own);
    EXPECT_TUTTI(
        tuttiAllGather(in_place() ? own : mine.data(), recv, count(), tuttiInt32, comm, nullptr));
  });
  for (const Ints& result : out) {
    for (size_t i = 0; i < result.size(); ++i)
      ASSERT_EQ(result[i], value(static_cast<int>(i / count()), i % count())) << i;
  }
}

TEST_P(Collectives, ReduceScatter_Sum_LeavesOwnBlock) {
  auto in = filled(count() * blocks());
  auto out = blank(count());
  run([&](int r, tuttiComm_t comm) {
    int* send = in[static_cast<size_t>(r)].data();
    int* recv =
        in_place() ? send + static_cast<size_t>(r) * count() : out[static_cast<size_t>(r)].data();
    EXPECT_TUTTI(tuttiReduceScatter(send, recv, count(), tuttiInt32, tuttiSum, comm, nullptr));
  });
  for (size_t r = 0; r < blocks(); ++r) {
    const int* result = in_place() ? in[r].data() + r * count() : out[r].data();
    for (size_t i = 0; i < count(); ++i)
      ASSERT_EQ(result[i], sum(r * count() + i)) << r << " " << i;
  }
}

TEST_P(Collectives, AllToAll_Blocks_AreTransposed) {
  auto in = filled(count() * blocks());
  auto out = blank(count() * blocks());
  run([&](int r, tuttiComm_t comm) {
    EXPECT_TUTTI(tuttiAllToAll(in[static_cast<size_t>(r)].data(),
                               out[static_cast<size_t>(r)].data(), count(), tuttiInt32, comm,
                               nullptr));
  });
  for (size_t d = 0; d < blocks(); ++d) {
    for (size_t s = 0; s < blocks(); ++s) {
      for (size_t i = 0; i < count(); ++i) {
        ASSERT_EQ(out[d][s * count() + i], value(static_cast<int>(s), d * count() + i))
            << s << " to " << d << ": " << i;
      }
    }
  }
}

TEST_P(Collectives, GatherAndScatter_Root_AreInverse) {
  const int root = n() / 2;
  auto in = filled(count());
  auto all = blank(count() * blocks());
  auto out = blank(count());
  World world(n());
  const auto gather = [&](int r, tuttiComm_t comm) {
    int* recv = all[static_cast<size_t>(r)].data();
    const Ints& mine = in[static_cast<size_t>(r)];
    int* own = recv + static_cast<size_t>(r) * count();
    const bool here = in_place() && r == root;
    if (here) std::copy(mine.begin(), mine.end(), own);
    EXPECT_TUTTI(tuttiGather(here ? own : mine.data(), r == root ? recv : nullptr, count(),
                             tuttiInt32, root, comm, nullptr));
  };
  const auto scatter = [&](int r, tuttiComm_t comm) {
    int* send = all[static_cast<size_t>(r)].data();
    const bool here = in_place() && r == root;
    int* recv = here ? send + static_cast<size_t>(r) * count() : out[static_cast<size_t>(r)].data();
    EXPECT_TUTTI(
        tuttiScatter(r == root ? send : nullptr, recv, count(), tuttiInt32, root, comm, nullptr));
  };
  if (GetParam().grouped) {
    world.grouped(gather);
    world.grouped(scatter);
  } else {
    world.each(gather);
    world.each(scatter);
  }
  for (size_t r = 0; r < blocks(); ++r) {
    const bool here = in_place() && static_cast<int>(r) == root;
    const int* result = here ? all[r].data() + r * count() : out[r].data();
    for (size_t i = 0; i < count(); ++i) ASSERT_EQ(result[i], in[r][i]) << r << " " << i;
  }
}

// Counts that differ by rank, with zeros among them, and gaps between blocks.
struct Blocks {
  std::vector<size_t> counts, displs;
  size_t end = 0;
};
Blocks uneven(size_t n, size_t base) {
  Blocks blocks;
  for (size_t i = 0; i < n; ++i) {
    blocks.counts.push_back(i % 3 == 1 ? 0 : base * i + base);
    blocks.displs.push_back(blocks.end);
    blocks.end += blocks.counts.back() + 2;
  }
  return blocks;
}

TEST_P(Collectives, AllGatherv_UnevenBlocks_LieAtTheirDisplacements) {
  const Blocks b = uneven(blocks(), count());
  auto in = filled(count() * (blocks() + 1));
  auto out = blank(b.end);
  run([&](int rank, tuttiComm_t comm) {
    const auto r = static_cast<size_t>(rank);
    int* own = out[r].data() + b.displs[r];
    if (in_place()) std::copy_n(in[r].begin(), b.counts[r], own);
    EXPECT_TUTTI(tuttiAllGatherv(in_place() ? own : in[r].data(), b.counts[r], out[r].data(),
                                 b.counts.data(), b.displs.data(), tuttiInt32, comm, nullptr));
  });
  for (const Ints& result : out) {
    for (size_t r = 0; r < blocks(); ++r) {
      for (size_t i = 0; i < b.counts[r]; ++i)
        ASSERT_EQ(result[b.displs[r] + i], value(static_cast<int>(r), i));
      ASSERT_EQ(result[b.displs[r] + b.counts[r]], -1) << "the gap after block " << r;
    }
  }
}

TEST_P(Collectives, ReduceScatterv_UnevenBlocks_AreReducedAtTheirOwner) {
  const Blocks b = uneven(blocks(), count());
  auto in = filled(b.end);
  auto out = blank(count() * (blocks() + 1) + 1);
  run([&](int rank, tuttiComm_t comm) {
    const auto r = static_cast<size_t>(rank);
    int* recv = in_place() ? in[r].data() + b.displs[r] : out[r].data();
    EXPECT_TUTTI(tuttiReduceScatterv(in[r].data(), b.counts.data(), b.displs.data(), recv,
                                     tuttiInt32, tuttiSum, comm, nullptr));
  });
  for (size_t r = 0; r < blocks(); ++r) {
    const int* result = in_place() ? in[r].data() + b.displs[r] : out[r].data();
    for (size_t i = 0; i < b.counts[r]; ++i)
      ASSERT_EQ(result[i], sum(b.displs[r] + i)) << r << " " << i;
  }
}

TEST_P(Collectives, AllToAllv_CountsPerPair_Arrive) {
  const auto pair_count = [&](size_t s, size_t d) {
    return (s + 2 * d) % 3 == 0 ? 0 : count() / (1 + s + d) + d;
  };
  const size_t room = (count() + blocks()) * blocks();
  auto in = filled(room);
  auto out = blank(room);
  run([&](int rank, tuttiComm_t comm) {
    const auto r = static_cast<size_t>(rank);
    std::vector<size_t> sends, recvs;
    for (size_t peer = 0; peer < blocks(); ++peer) {
      sends.push_back(pair_count(r, peer));
      recvs.push_back(pair_count(peer, r));
    }
    EXPECT_TUTTI(tuttiAllToAllv(in[r].data(), sends.data(), nullptr, out[r].data(), recvs.data(),
                                nullptr, tuttiInt32, comm, nullptr));
  });
  for (size_t d = 0; d < blocks(); ++d) {
    size_t at = 0;
    for (size_t s = 0; s < blocks(); ++s) {
      size_t from = 0;
      for (size_t before = 0; before < d; ++before) from += pair_count(s, before);
      for (size_t i = 0; i < pair_count(s, d); ++i) {
        ASSERT_EQ(out[d][at++], value(static_cast<int>(s), from + i))
            << s << " to " << d << ": " << i;
      }
    }
  }
}

TEST_P(Collectives, GathervAndScatterv_RootKnowsCounts_AreInverse) {
  const Blocks b = uneven(blocks(), count());
  const size_t root = blocks() - 1;
  auto in = filled(count() * (blocks() + 1));
  Ints all(b.end, -1);
  auto out = blank(count() * (blocks() + 1));
  World world(n());
  const auto both = [&](const std::function<void(int, tuttiComm_t)>& body) {
    if (GetParam().grouped) {
      world.grouped(body);
    } else {
      world.each(body);
    }
  };
  both([&](int rank, tuttiComm_t comm) {
    const auto r = static_cast<size_t>(rank);
    const bool here = r == root;
    EXPECT_TUTTI(tuttiGatherv(in[r].data(), b.counts[r], here ? all.data() : nullptr,
                              here ? b.counts.data() : nullptr, here ? b.displs.data() : nullptr,
                              tuttiInt32, static_cast<int>(root), comm, nullptr));
  });
  both([&](int rank, tuttiComm_t comm) {
    const auto r = static_cast<size_t>(rank);
    const bool here = r == root;
    EXPECT_TUTTI(tuttiScatterv(here ? all.data() : nullptr, here ? b.counts.data() : nullptr,
                               here ? b.displs.data() : nullptr, out[r].data(), b.counts[r],
                               tuttiInt32, static_cast<int>(root), comm, nullptr));
  });
  for (size_t r = 0; r < blocks(); ++r) {
    for (size_t i = 0; i < b.counts[r]; ++i) ASSERT_EQ(out[r][i], in[r][i]) << r << " " << i;
  }
}

TEST_P(Collectives, AllReduce_AvgAndPreMulSum_Scale) {
  std::vector<std::vector<float>> in(blocks(), std::vector<float>(count()));
  auto avg = in;
  auto scaled = in;
  for (int r = 0; r < n(); ++r) {
    for (size_t i = 0; i < count(); ++i)
      in[static_cast<size_t>(r)][i] = static_cast<float>(value(r, i));
  }
  run([&](int rank, tuttiComm_t comm) {
    const auto r = static_cast<size_t>(rank);
    EXPECT_TUTTI(tuttiAllReduce(in[r].data(), avg[r].data(), count(), tuttiFloat32, tuttiAvg, comm,
                                nullptr));
    float scalar = static_cast<float>(rank + 1);
    tuttiRedOp_t op;
    EXPECT_TUTTI(
        tuttiRedOpCreatePreMulSum(&op, &scalar, tuttiFloat32, tuttiScalarHostImmediate, comm));
    EXPECT_TUTTI(
        tuttiAllReduce(in[r].data(), scaled[r].data(), count(), tuttiFloat32, op, comm, nullptr));
    EXPECT_TUTTI(tuttiRedOpDestroy(op, comm));
  });
  for (size_t i = 0; i < count(); ++i) {
    float expected = 0;
    for (int r = 0; r < n(); ++r) expected += static_cast<float>((r + 1) * value(r, i));
    for (size_t r = 0; r < blocks(); ++r) {
      ASSERT_FLOAT_EQ(avg[r][i], static_cast<float>(sum(i)) / static_cast<float>(n()));
      ASSERT_FLOAT_EQ(scaled[r][i], expected);
    }
  }
}

TEST(Barrier, LateRank_HoldsTheOthers) {
  World world(4);
  std::atomic<int> entered{0};
  world.each([&](int, tuttiComm_t comm) {
    for (int round = 1; round <= 50; ++round) {
      entered.fetch_add(1);
      EXPECT_TUTTI(tuttiBarrier(comm, nullptr));
      EXPECT_GE(entered.load(), 4 * round);
      EXPECT_TUTTI(tuttiBarrier(comm, nullptr));
    }
  });
}

TEST(SharedMemory, AllReduceOfMappedBuffers_IsCorrectAndGoesByReference) {
  constexpr size_t kCount = 1 << 18;
  World world(4);
  std::vector<float*> buffers(8);
  for (float*& buffer : buffers) {
    void* memory = nullptr;
    EXPECT_TUTTI(tuttiMemAlloc(&memory, kCount * sizeof(float)));
    buffer = static_cast<float*>(memory);
  }
  world.each([&](int r, tuttiComm_t comm) {
    float* in = buffers[static_cast<size_t>(r)];
    std::fill_n(in, kCount, static_cast<float>(r + 1));
    EXPECT_TUTTI(tuttiAllReduce(in, buffers[static_cast<size_t>(r) + 4], kCount, tuttiFloat32,
                                tuttiSum, comm, nullptr));
  });
  for (size_t r = 4; r < 8; ++r) {
    for (size_t i = 0; i < kCount; ++i) ASSERT_EQ(buffers[r][i], 10.0f) << i;
  }
  tuttiCommStats_t stats = TUTTI_COMM_STATS_INITIALIZER;
  EXPECT_TUTTI(tuttiCommGetStats(world[0], &stats));
  EXPECT_STREQ(stats.lastProtocol, "mapped");
  EXPECT_STREQ(stats.transports, "inproc");
  for (float* buffer : buffers) EXPECT_TUTTI(tuttiMemFree(buffer));
}

TEST(Misaligned, AllReduceOfOddAddresses_IsCorrect) {
  constexpr size_t kCount = 3001;
  World world(3);
  world.each([&](int r, tuttiComm_t comm) {
    std::vector<char> in(kCount * 8 + 1), out(kCount * 8 + 3);
    for (size_t i = 0; i < kCount; ++i) {
      const double v = value(r, i);
      std::memcpy(in.data() + 1 + i * 8, &v, 8);
    }
    EXPECT_TUTTI(tuttiAllReduce(in.data() + 1, out.data() + 3, kCount, tuttiFloat64, tuttiMax, comm,
                                nullptr));
    for (size_t i = 0; i < kCount; ++i) {
      double v;
      std::memcpy(&v, out.data() + 3 + i * 8, 8);
      ASSERT_EQ(v, std::max({value(0, i), value(1, i), value(2, i)}));
    }
  });
}

}  // namespace
}  // namespace tutti::testing
