// SPDX-License-Identifier: Apache-2.0
// MoE calls of the C API: what is refused and how, the order of calls, and properties of a layer
// that need no reference. Values are tested by tests/moe.
#include <atomic>
#include <cstring>
#include <random>
#include <string>
#include <vector>

#include "tests/unit/api_support.h"

namespace tutti::testing {
namespace {

constexpr size_t kHidden = 128;

tuttiMoeConfig_t small_config(int experts = 8, int k = 2, size_t tokens = 16) {
  tuttiMoeConfig_t config = TUTTI_MOE_CONFIG_INITIALIZER;
  config.numExperts = experts;
  config.maxTopK = k;
  config.maxTokens = tokens;
  config.hidden = kHidden;
  return config;
}

uint16_t bf16(float value) {
  uint32_t bits = 0;
  std::memcpy(&bits, &value, sizeof bits);
  return static_cast<uint16_t>(bits >> 16);
}
float number(uint16_t code) {
  const uint32_t bits = static_cast<uint32_t>(code) << 16;
  float value = 0;
  std::memcpy(&value, &bits, sizeof value);
  return value;
}

// One rank's group, handle and buffers.
class Member {
 public:
  Member(tuttiComm_t comm, int rank, int n, const tuttiMoeConfig_t& config) {
    EXPECT_TUTTI(tuttiMoeGetSizes(&config, n, rank, &sizes));
    rows.resize(sizes.receiveRows * config.hidden);
    y.resize(rows.size());
    out.resize(config.maxTokens * config.hidden);
    output.rows = rows.data();
    EXPECT_TUTTI(tuttiMoeGroupCreate(&group, comm, &config));
    EXPECT_TUTTI(tuttiMoeHandleCreate(&handle, group));
  }
  void close() {
    EXPECT_TUTTI(tuttiMoeHandleDestroy(handle));
    EXPECT_TUTTI(tuttiMoeGroupDestroy(group));
  }
  void layer(const std::vector<int64_t>& experts, size_t tokens, int k,
             const std::vector<uint16_t>& x) {
    EXPECT_TUTTI(tuttiMoeRoute(handle, experts.data(), nullptr, tokens, k));
    EXPECT_TUTTI(tuttiMoeDispatch(handle, x.data(), &output, TUTTI_MOE_BOTH, nullptr));
    y = rows;  // identity experts
    EXPECT_TUTTI(tuttiMoeCombine(handle, y.data(), out.data(), TUTTI_MOE_BOTH, nullptr));
    EXPECT_TUTTI(tuttiMoeComplete(handle));
  }

  tuttiMoeSizes_t sizes = TUTTI_MOE_SIZES_INITIALIZER;
  tuttiMoeOutput_t output = TUTTI_MOE_OUTPUT_INITIALIZER;
  std::vector<uint16_t> rows, y, out;
  tuttiMoeGroup_t group = nullptr;
  tuttiMoeHandle_t handle = nullptr;
};

TEST(ApiMoe, GetSizes_WrongConfig_NamesTheField) {
  tuttiMoeSizes_t sizes = TUTTI_MOE_SIZES_INITIALIZER;
  const auto refused = [&](auto change, const std::vector<std::string>& fragments) {
    tuttiMoeConfig_t config = small_config();
    change(config);
    expect_error(tuttiMoeGetSizes(&config, 2, 0, &sizes), tuttiInvalidArgument, fragments);
  };
  refused([](tuttiMoeConfig_t& c) { c.size = 0; }, {"config.size", "INITIALIZER"});
  refused([](tuttiMoeConfig_t& c) { c.numExperts = 0; }, {"numExperts is 0"});
  refused([](tuttiMoeConfig_t& c) { c.maxTopK = 129; }, {"maxTopK is 129", "1 to 128"});
  refused([](tuttiMoeConfig_t& c) { c.hidden = 0; }, {"hidden is 0"});
  refused([](tuttiMoeConfig_t& c) { c.alignment = 0; }, {"alignment is 0"});
  refused([](tuttiMoeConfig_t& c) { c.maxHandles = 17; }, {"maxHandles is 17"});
  refused([](tuttiMoeConfig_t& c) { c.layout = static_cast<tuttiMoeLayoutKind_t>(7); },
          {"layout is 7", "0 to 1"});
  refused([](tuttiMoeConfig_t& c) { c.reduction = static_cast<tuttiMoeReduction_t>(-1); },
          {"reduction is -1"});
  refused(
      [](tuttiMoeConfig_t& c) {
        c.hidden = 2880;
        c.quantization = tuttiMoeQuantE4m3G128F32;
      },
      {"hidden is 2880", "multiple", "128"});
  static const int kCounts[] = {1, 1};
  static const int kTwice[] = {0, 9};
  refused(
      [](tuttiMoeConfig_t& c) {
        c.expertsPerRank = kCounts;
        c.experts = kTwice;
      },
      {"expert 9 on rank 1", "0 to 7"});
  refused([](tuttiMoeConfig_t& c) { c.experts = kTwice; }, {"expertsPerRank is NULL"});
  const tuttiMoeConfig_t good = small_config();
  expect_error(tuttiMoeGetSizes(&good, 2, 2, &sizes), tuttiInvalidArgument, {"rank is 2"});
  expect_error(tuttiMoeGetSizes(nullptr, 2, 0, &sizes), tuttiInvalidArgument, {"config is NULL"});
}

TEST(ApiMoe, GetSizes_EachLayout_HoldsTheWorstRouting) {
  tuttiMoeSizes_t sizes = TUTTI_MOE_SIZES_INITIALIZER;
  tuttiMoeConfig_t config = small_config(9, 4, 10);
  EXPECT_TUTTI(tuttiMoeGetSizes(&config, 3, 1, &sizes));
  EXPECT_EQ(sizes.numExperts, 3U);
  EXPECT_EQ(sizes.receiveRows, 3U * 10 * 3);  // three experts here, of the four of a token
  EXPECT_EQ(sizes.rowBytes, 2 * kHidden);
  config.layout = tuttiMoeRankMajor;
  config.quantization = tuttiMoeQuantE4m3G128F32;
  EXPECT_TUTTI(tuttiMoeGetSizes(&config, 3, 1, &sizes));
  EXPECT_EQ(sizes.receiveRows, 3U * 10);
  EXPECT_EQ(sizes.rowBytes, kHidden);
  EXPECT_EQ(sizes.rowScaleBytes, 4U);
  config.maxReceiveRows = 7;
  EXPECT_TUTTI(tuttiMoeGetSizes(&config, 3, 1, &sizes));
  EXPECT_EQ(sizes.receiveRows, 7U);
}

TEST(ApiMoe, GroupCreate_ConfigsThatDiffer_FailsOnAllRanksNamingOne) {
  World world(3);
  world.each([](int rank, tuttiComm_t comm) {
    tuttiMoeConfig_t config = small_config();
    if (rank == 2) config.hidden = 256;
    tuttiMoeGroup_t group = nullptr;
    expect_error(tuttiMoeGroupCreate(&group, comm, &config), tuttiInvalidArgument, {"rank 2"});
    EXPECT_EQ(group, nullptr);
    if (rank == 1) config.numExperts = -4;
    expect_error(tuttiMoeGroupCreate(&group, comm, &config), tuttiInvalidArgument,
                 {"numExperts is -4"});
    config = small_config();
    config.rank = rank == 0 ? 1 : rank;
    expect_error(tuttiMoeGroupCreate(&group, comm, &config), tuttiInvalidArgument, {"place 1"});
    EXPECT_TUTTI(tuttiBarrier(comm, nullptr));  // nothing is broken
  });
}

TEST(ApiMoe, Route_WrongTable_NamesTokenAndLimit) {
  World world(1);
  Member member(world[0], 0, 1, small_config());
  const std::vector<int64_t> good(64, 1);
  std::vector<int64_t> bad = good;
  bad[3] = 8;
  expect_error(tuttiMoeRoute(member.handle, bad.data(), nullptr, 2, 2), tuttiInvalidArgument,
               {"topkIdx[1][1] is 8", "0 to 7"});
  bad[3] = -2;
  expect_error(tuttiMoeRoute(member.handle, bad.data(), nullptr, 2, 2), tuttiInvalidArgument,
               {"topkIdx[1][1] is -2"});
  expect_error(tuttiMoeRoute(member.handle, good.data(), nullptr, 17, 2), tuttiInvalidArgument,
               {"nTokens is 17", "16"});
  expect_error(tuttiMoeRoute(member.handle, good.data(), nullptr, 2, 3), tuttiInvalidArgument,
               {"topK is 3", "2"});
  expect_error(tuttiMoeRoute(member.handle, nullptr, nullptr, 2, 2), tuttiInvalidArgument,
               {"topkIdx is NULL"});
  EXPECT_TUTTI(tuttiMoeRoute(member.handle, good.data(), nullptr, 16, 2));
  member.close();
  expect_error(tuttiMoeRoute(member.handle, good.data(), nullptr, 2, 2), tuttiInvalidArgument,
               {"MoE handle"});
}

TEST(ApiMoe, Calls_OutOfTurn_AreInvalidUsage) {
  World world(1);
  Member m(world[0], 0, 1, small_config());
  const std::vector<int64_t> experts(4, 1);
  const std::vector<uint16_t> x(2 * kHidden);
  const auto dispatch = [&](int phases) {
    return tuttiMoeDispatch(m.handle, x.data(), &m.output, phases, nullptr);
  };
  const auto combine = [&](int phases) {
    return tuttiMoeCombine(m.handle, m.y.data(), m.out.data(), phases, nullptr);
  };
  tuttiMoeLayout_t layout = TUTTI_MOE_LAYOUT_INITIALIZER;
  expect_error(dispatch(TUTTI_MOE_BOTH), tuttiInvalidUsage, {"nothing was routed"});
  EXPECT_TUTTI(tuttiMoeRoute(m.handle, experts.data(), nullptr, 2, 2));
  expect_error(combine(TUTTI_MOE_BOTH), tuttiInvalidUsage, {"only routed"});
  expect_error(dispatch(TUTTI_MOE_RECV), tuttiInvalidUsage, {"a dispatch that was sent"});
  expect_error(tuttiMoeGetLayout(m.handle, &layout), tuttiInvalidUsage, {"only routed"});
  expect_error(dispatch(4), tuttiInvalidArgument, {"phases is 4"});
  EXPECT_TUTTI(dispatch(TUTTI_MOE_SEND));
  expect_error(dispatch(TUTTI_MOE_SEND), tuttiInvalidUsage, {"received before it sends"});
  expect_error(tuttiMoeRoute(m.handle, experts.data(), nullptr, 2, 2), tuttiInvalidUsage,
               {"in flight"});
  expect_error(tuttiMoeComplete(m.handle), tuttiInvalidUsage, {"in flight"});
  expect_error(tuttiMoeHandleDestroy(m.handle), tuttiInvalidUsage, {"in flight"});
  EXPECT_TUTTI(dispatch(TUTTI_MOE_RECV));
  EXPECT_TUTTI(tuttiMoeGetLayout(m.handle, &layout));
  EXPECT_TUTTI(combine(TUTTI_MOE_SEND));
  expect_error(dispatch(TUTTI_MOE_BOTH), tuttiInvalidUsage, {"a combine was sent"});
  EXPECT_TUTTI(combine(TUTTI_MOE_RECV));
  expect_error(tuttiMoeGroupDestroy(m.group), tuttiInvalidUsage, {"has handles"});
  EXPECT_TUTTI(tuttiMoeComplete(m.handle));
  expect_error(combine(TUTTI_MOE_BOTH), tuttiInvalidUsage, {"nothing was routed"});
  tuttiMoeHandle_t second = nullptr, third = nullptr;
  EXPECT_TUTTI(tuttiMoeHandleCreate(&second, m.group));
  expect_error(tuttiMoeHandleCreate(&third, m.group), tuttiInvalidUsage, {"2 handles"});
  EXPECT_TUTTI(tuttiMoeHandleDestroy(second));
  expect_error(tuttiMoeDispatch(m.handle, x.data(), nullptr, TUTTI_MOE_BOTH, nullptr),
               tuttiInvalidArgument, {"output is NULL"});
  m.close();
}

TEST(ApiMoe, Mask_OfThisRankOrBackAgain_IsRefused) {
  World world(2);
  world.each([](int rank, tuttiComm_t comm) {
    Member m(comm, rank, 2, small_config());
    uint8_t mask[] = {1, 1};
    EXPECT_TUTTI(tuttiMoeGroupGetMask(m.group, mask));
    EXPECT_EQ(mask[0] + mask[1], 2);
    EXPECT_TUTTI(tuttiMoeGroupSetMask(m.group, mask));  // nobody leaves
    mask[rank] = 0;
    expect_error(tuttiMoeGroupSetMask(m.group, mask), tuttiInvalidArgument, {"is this rank"});
    mask[rank] = 3;
    expect_error(tuttiMoeGroupSetMask(m.group, mask), tuttiInvalidArgument, {"is 3"});
    EXPECT_TUTTI(tuttiBarrier(comm, nullptr));
    m.close();
  });
}

TEST(ApiMoe, OneThread_AllRanksInAGroup_CompletesAll) {
  World world(3);
  std::vector<std::unique_ptr<Member>> members(3);
  std::vector<tuttiMoeGroup_t> groups(3);
  const tuttiMoeConfig_t config = small_config(6, 2, 4);
  world.grouped([&](int rank, tuttiComm_t comm) {
    EXPECT_TUTTI(tuttiMoeGroupCreate(&groups[static_cast<size_t>(rank)], comm, &config));
  });
  std::vector<tuttiMoeHandle_t> handles(3);
  const std::vector<int64_t> experts = {0, 5, 3, 2, 1, 4, 5, 0};
  std::vector<uint16_t> x(4 * kHidden, bf16(3));
  std::vector<std::vector<uint16_t>> rows(3), out(3);
  for (size_t r = 0; r < 3; ++r) {
    EXPECT_TUTTI(tuttiMoeHandleCreate(&handles[r], groups[r]));
    EXPECT_TUTTI(tuttiMoeRoute(handles[r], experts.data(), nullptr, 4, 2));
    rows[r].resize(3 * 4 * 2 * kHidden);
    out[r].resize(x.size());
  }
  world.grouped([&](int rank, tuttiComm_t) {
    const auto r = static_cast<size_t>(rank);
    tuttiMoeOutput_t output = TUTTI_MOE_OUTPUT_INITIALIZER;
    output.rows = rows[r].data();
    EXPECT_TUTTI(tuttiMoeDispatch(handles[r], x.data(), &output, TUTTI_MOE_BOTH, nullptr));
  });
  world.grouped([&](int rank, tuttiComm_t) {
    const auto r = static_cast<size_t>(rank);
    EXPECT_TUTTI(
        tuttiMoeCombine(handles[r], rows[r].data(), out[r].data(), TUTTI_MOE_BOTH, nullptr));
  });
  for (size_t r = 0; r < 3; ++r) {
    for (const uint16_t code : out[r]) ASSERT_EQ(number(code), 6.0F);  // two identity experts
    EXPECT_TUTTI(tuttiMoeHandleDestroy(handles[r]));
  }
  world.grouped([&](int rank, tuttiComm_t) {
    EXPECT_TUTTI(tuttiMoeGroupDestroy(groups[static_cast<size_t>(rank)]));
  });
}

// Small integers: products and sums are exact.
std::vector<uint16_t> integers(std::mt19937& random, size_t n) {
  std::vector<uint16_t> values;
  for (size_t i = 0; i < n; ++i) values.push_back(bf16(static_cast<float>(random() % 5) - 2));
  return values;
}
double inner(const std::vector<uint16_t>& a, const std::vector<uint16_t>& b, size_t n) {
  double sum = 0;
  for (size_t i = 0; i < n; ++i) sum += double{number(a[i])} * double{number(b[i])};
  return sum;
}

// <Dx, y> over all received rows is <x, Cy> over all tokens: combine is dispatch's adjoint.
TEST(ApiMoe, Combine_OfAnything_IsAdjointToDispatch) {
  World world(4);
  std::atomic<int64_t> difference{0};
  world.each([&](int rank, tuttiComm_t comm) {
    Member m(comm, rank, 4, small_config(16, 4, 24));
    std::mt19937 random(static_cast<uint32_t>(rank) + 1);
    for (int round = 0; round < 20; ++round) {
      const size_t tokens = random() % 25;
      std::vector<int64_t> experts;
      for (size_t t = 0; t < tokens; ++t) {
        const size_t start = random();
        for (size_t j = 0; j < 4; ++j)  // different ones, or none
          experts.push_back(random() % 8 == 0 ? -1 : static_cast<int64_t>((start + j * 3) % 16));
      }
      const auto x = integers(random, tokens * kHidden);
      std::fill(m.rows.begin(), m.rows.end(), uint16_t{0});
      EXPECT_TUTTI(tuttiMoeRoute(m.handle, experts.data(), nullptr, tokens, 4));
      EXPECT_TUTTI(tuttiMoeDispatch(m.handle, x.data(), &m.output, TUTTI_MOE_BOTH, nullptr));
      m.y = integers(random, m.y.size());
      EXPECT_TUTTI(tuttiMoeCombine(m.handle, m.y.data(), m.out.data(), TUTTI_MOE_BOTH, nullptr));
      tuttiMoeLayout_t layout = TUTTI_MOE_LAYOUT_INITIALIZER;
      EXPECT_TUTTI(tuttiMoeGetLayout(m.handle, &layout));
      double received = 0;
      for (size_t b = 0; b < layout.numBlocks; ++b) {
        for (uint32_t i = 0; i < layout.received[b]; ++i) {
          const size_t at = (layout.offsets[b] + i) * kHidden;
          for (size_t e = 0; e < kHidden; ++e)
            received += double{number(m.rows[at + e])} * double{number(m.y[at + e])};
        }
      }
      const double combined = inner(x, m.out, tokens * kHidden);
      difference.fetch_add(static_cast<int64_t>(received) - static_cast<int64_t>(combined));
      EXPECT_TUTTI(tuttiMoeComplete(m.handle));
    }
    m.close();
  });
  EXPECT_EQ(difference.load(), 0);
}

TEST(ApiMoe, AllTokensLocal_SendNoPayload) {
  World world(3);
  world.each([](int rank, tuttiComm_t comm) {
    Member m(comm, rank, 3, small_config(6, 2, 8));
    const std::vector<int64_t> experts(16, rank * 2);
    const std::vector<uint16_t> x(8 * kHidden, bf16(1));
    m.layer(experts, 8, 2, x);
    for (const uint16_t code : m.out)
      ASSERT_EQ(number(code), 2.0F);  // one expert, twice its weight
    tuttiMoeStats_t stats = TUTTI_MOE_STATS_INITIALIZER;
    EXPECT_TUTTI(tuttiMoeGroupGetStats(m.group, &stats));
    for (int reach = 0; reach < 3; ++reach) {
      EXPECT_EQ(stats.dispatchPayloadBytes[reach], 0U);
      EXPECT_EQ(stats.combinePayloadBytes[reach], 0U);
    }
    m.close();
  });
}

TEST(ApiMoe, TenThousandLayers_OfAlternatingSizes_StayRight) {
  World world(2);
  world.each([](int rank, tuttiComm_t comm) {
    Member m(comm, rank, 2, small_config(8, 2, 16));
    std::mt19937 random(9);
    for (int round = 0; round < 10'000; ++round) {
      const size_t tokens = (random() + static_cast<size_t>(rank) * 7) % 17;
      std::vector<int64_t> experts;
      for (size_t t = 0; t < tokens; ++t) {
        experts.push_back(static_cast<int64_t>((t + static_cast<size_t>(round)) % 4));
        experts.push_back(4 + static_cast<int64_t>((t * 3 + static_cast<size_t>(round)) % 4));
      }
      const float value = static_cast<float>(round % 8 + rank * 8);
      const std::vector<uint16_t> x(tokens * kHidden, bf16(value));
      m.layer(experts, tokens, 2, x);
      for (size_t i = 0; i < tokens * kHidden; i += 37)
        ASSERT_EQ(number(m.out[i]), 2 * value) << "round " << round;
    }
    m.close();
  });
}

// The library's memory for a handle does not depend on the number of tokens, and is given back.
TEST(ApiMoe, Groups_MadeAndDestroyed_HoldNoMemory) {
  World world(2);
  world.each([](int rank, tuttiComm_t comm) {
    const std::vector<int64_t> experts(32, 7);
    const std::vector<uint16_t> x(16 * kHidden);
    uint64_t after_first = 0;
    for (int round = 0; round < 10; ++round) {
      Member m(comm, rank, 2, small_config());
      m.layer(experts, 16, 2, x);
      m.close();
      tuttiCommMemStats_t stats = TUTTI_COMM_MEM_STATS_INITIALIZER;
      EXPECT_TUTTI(tuttiCommGetMemStats(comm, &stats));
      if (round == 0) after_first = stats.connectionBytes;
      EXPECT_EQ(stats.connectionBytes, after_first);
    }
  });
}

TEST(ApiMoe, RanksInDifferentCalls_AreTold) {
  World world(2);
  world.each([](int rank, tuttiComm_t comm) {
    const tuttiMoeConfig_t config = small_config();
    Member m(comm, rank, 2, config);
    tuttiMoeHandle_t other = nullptr;
    EXPECT_TUTTI(tuttiMoeHandleCreate(&other, m.group));
    const std::vector<int64_t> experts(32, 7 - rank * 7);  // each to the other
    const std::vector<uint16_t> x(16 * kHidden);
    EXPECT_TUTTI(tuttiMoeRoute(m.handle, experts.data(), nullptr, 16, 2));
    EXPECT_TUTTI(tuttiMoeDispatch(m.handle, x.data(), &m.output, TUTTI_MOE_BOTH, nullptr));
    // Rank 1 goes on to combine, rank 0 dispatches again.
    const tuttiResult_t result =
        rank == 0 ? tuttiMoeDispatch(m.handle, x.data(), &m.output, TUTTI_MOE_BOTH, nullptr)
                  : tuttiMoeCombine(m.handle, m.y.data(), m.out.data(), TUTTI_MOE_BOTH, nullptr);
    EXPECT_NE(result, tuttiSuccess);
    const std::string text = tuttiGetLastError(nullptr);
    EXPECT_NE(text.find("Moe"), std::string::npos) << text;
    EXPECT_NE(text.find("rank"), std::string::npos) << text;
    EXPECT_TUTTI(tuttiMoeHandleDestroy(other));
    EXPECT_TUTTI(tuttiMoeHandleDestroy(m.handle));
    EXPECT_TUTTI(tuttiMoeGroupDestroy(m.group));
  });
}

}  // namespace
}  // namespace tutti::testing
