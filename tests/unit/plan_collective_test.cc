// SPDX-License-Identifier: Apache-2.0
// Which blocks each buffer of each rank holds.
#include <string>
#include <vector>

#include <gtest/gtest.h>

#include "src/base/error.h"
#include "src/plan/collective.h"

namespace tutti::plan {
namespace {

std::vector<int32_t> blocks(const Shape& shape, int32_t rank, Buffer buffer) {
  std::vector<int32_t> list;
  for (int32_t i = 0; i < blocks_in(shape, rank, buffer); ++i)
    list.push_back(block_at(shape, rank, buffer, i));
  return list;
}

TEST(Collective, EachRank_HoldsTheBlocksOfItsDefinition) {
  using List = std::vector<int32_t>;
  struct Case {
    Collective collective;
    int32_t count;
    List input, output, root_input, root_output;  // of rank 1, and of rank 2, the root
  };
  const Case cases[] = {
      {Collective::kAllReduce, 1, {0}, {0}, {0}, {0}},
      {Collective::kReduce, 1, {0}, {}, {0}, {0}},
      {Collective::kBroadcast, 1, {}, {0}, {0}, {0}},
      {Collective::kAllGather, 3, {1}, {0, 1, 2}, {2}, {0, 1, 2}},
      {Collective::kReduceScatter, 3, {0, 1, 2}, {1}, {0, 1, 2}, {2}},
      {Collective::kAllToAll, 9, {3, 4, 5}, {1, 4, 7}, {6, 7, 8}, {2, 5, 8}},
      {Collective::kGather, 3, {1}, {}, {2}, {0, 1, 2}},
      {Collective::kScatter, 3, {}, {1}, {0, 1, 2}, {2}},
      {Collective::kBarrier, 0, {}, {}, {}, {}},
  };
  for (const Case& c : cases) {
    const bool barrier = c.collective == Collective::kBarrier;
    const Shape shape{c.collective, 3, has_root(c.collective) ? 2 : 0, barrier ? 0 : 2};
    SCOPED_TRACE(name(c.collective));
    EXPECT_EQ(block_count(shape), c.count);
    EXPECT_EQ(extent_count(shape), 2 * c.count);
    EXPECT_EQ(blocks(shape, 1, Buffer::kInput), c.input);
    EXPECT_EQ(blocks(shape, 1, Buffer::kOutput), c.output);
    EXPECT_EQ(blocks(shape, 2, Buffer::kInput), c.root_input);
    EXPECT_EQ(blocks(shape, 2, Buffer::kOutput), c.root_output);
    EXPECT_EQ(blocks_in(shape, 1, Buffer::kScratch), 0);
  }
}

TEST(Collective, PositionOf_InvertsBlockAt) {
  for (int i = 0; i < kCollectiveCount; ++i) {
    const auto collective = static_cast<Collective>(i);
    const Shape shape{collective, 5, has_root(collective) ? 3 : 0,
                      collective == Collective::kBarrier ? 0 : 2};
    for (int32_t rank = 0; rank < 5; ++rank) {
      for (const Buffer buffer : {Buffer::kInput, Buffer::kOutput, Buffer::kScratch}) {
        const std::vector<int32_t> held = blocks(shape, rank, buffer);
        int32_t found = 0;
        for (int32_t block = 0; block < block_count(shape); ++block) {
          const int32_t position = position_of(shape, rank, buffer, block);
          if (position < 0) continue;
          ++found;
          EXPECT_EQ(held.at(static_cast<size_t>(position)), block);
        }
        EXPECT_EQ(found, static_cast<int32_t>(held.size()))
            << name(collective) << " " << name(buffer);
        EXPECT_EQ(position_of(shape, rank, buffer, -1), -1);
        EXPECT_EQ(position_of(shape, rank, buffer, block_count(shape)), -1);
      }
    }
  }
}

TEST(Collective, ExtentOf_NamesChunksAndRejectsOthers) {
  const Shape shape{Collective::kAllToAll, 3, 0, 2};
  EXPECT_EQ(extent_of(shape, 1, Buffer::kInput, 0), 6);
  EXPECT_EQ(extent_of(shape, 1, Buffer::kInput, 5), 11);
  EXPECT_EQ(extent_of(shape, 1, Buffer::kOutput, 3), 9);
  EXPECT_EQ(extent_of(shape, 1, Buffer::kOutput, 6), kNoExtent);
  EXPECT_EQ(extent_of(shape, 1, Buffer::kOutput, -1), kNoExtent);
  EXPECT_EQ(extent_of(shape, 1, Buffer::kScratch, 0), kNoExtent);
  EXPECT_EQ(extent_of({Collective::kBarrier, 3, 0, 0}, 1, Buffer::kInput, 0), kNoExtent);
}

TEST(Collective, Names_RoundTripAndListThemselves) {
  for (int i = 0; i < kCollectiveCount; ++i) {
    EXPECT_EQ(collective_from_name(name(static_cast<Collective>(i))), static_cast<Collective>(i));
  }
  for (const char* spelling : {"allreduce", "AllReduce", "ALL-REDUCE"})
    EXPECT_EQ(collective_from_name(spelling), Collective::kAllReduce) << spelling;
  try {
    collective_from_name("all_reduced");
    FAIL() << "expected an error";
  } catch (const Error& error) {
    EXPECT_EQ(error.code(), StatusCode::kInvalidArgument);
    EXPECT_STREQ(error.what(),
                 "no collective is called \"all_reduced\"; expected one of all_reduce, reduce, "
                 "broadcast, all_gather, "
                 "reduce_scatter, all_to_all, gather, scatter, barrier");
  }
}

}  // namespace
}  // namespace tutti::plan
