// SPDX-License-Identifier: Apache-2.0
// Joining and all-gather with ranks as threads.
#include <algorithm>
#include <cstring>
#include <filesystem>
#include <set>

#include <gtest/gtest.h>

#include "src/bootstrap/root.h"
#include "tests/unit/bootstrap_test_support.h"

namespace tutti::bootstrap {
namespace {

// Uneven, some empty, one of 1 MiB.
size_t uneven_bytes(int rank, int round) {
  if (round == 1 && rank == 0) return size_t{1} << 20;
  return rank % 3 == 0 ? 0 : static_cast<size_t>(rank * 37 + round);
}

using Table = std::vector<std::vector<std::byte>>;

// Made once per test: under thread sanitizer each rank's own copy would take most of the time.
Table expected_table(int n_ranks, const std::function<size_t(int rank)>& bytes) {
  Table table;
  for (int rank = 0; rank < n_ranks; ++rank) table.push_back(pattern(rank, bytes(rank)));
  return table;
}

bool same(const Table& a, const Table& b) {
  return std::equal(a.begin(), a.end(), b.begin(), b.end(), [](const auto& x, const auto& y) {
    return x.size() == y.size() && (x.empty() || std::memcmp(x.data(), y.data(), x.size()) == 0);
  });
}

class Join : public testing::TestWithParam<int> {};

TEST_P(Join, ThenSeveralAllGathers_GiveEverybodysBytes) {
  const int n_ranks = GetParam();
  const UniqueId id = create_unique_id("");
  std::vector<uint64_t> comm_ids(static_cast<size_t>(n_ranks));
  std::vector<Table> rounds;
  for (int round = 0; round < 3; ++round) {
    rounds.push_back(expected_table(n_ranks, [&](int rank) { return uneven_bytes(rank, round); }));
  }
  const auto outcomes = run_threads(n_ranks, [&](int rank) {
    const auto bootstrap = Bootstrap::join(id, n_ranks, rank, soon(), nullptr);
    EXPECT_EQ(bootstrap->rank(), rank);
    EXPECT_EQ(bootstrap->n_ranks(), n_ranks);
    comm_ids[static_cast<size_t>(rank)] = bootstrap->comm_id();
    for (const Table& expected : rounds) {
      const Table all = bootstrap->all_gather(expected[static_cast<size_t>(rank)], soon());
      ASSERT_TRUE(same(all, expected));
    }
  });
  for (const Outcome& outcome : outcomes) EXPECT_EQ(outcome.text, "");
  EXPECT_NE(comm_ids[0], 0U);
  EXPECT_EQ(std::set(comm_ids.begin(), comm_ids.end()).size(), 1U);
}

INSTANTIATE_TEST_SUITE_P(Ranks, Join, testing::Values(1, 2, 3, 8, 9, 64, 100));

TEST(Join_TwoIdsAtOnce, MakeTwoCommunicators) {
  const UniqueId ids[] = {create_unique_id(""), create_unique_id("")};
  std::vector<uint64_t> comm_ids(8);
  const auto outcomes = run_threads(8, [&](int i) {
    const auto bootstrap = Bootstrap::join(ids[i % 2], 4, i / 2, soon(), nullptr);
    comm_ids[static_cast<size_t>(i)] = bootstrap->comm_id();
    bootstrap->all_gather(pattern(i, 10), soon());
  });
  for (const Outcome& outcome : outcomes) EXPECT_EQ(outcome.text, "");
  EXPECT_EQ(std::set(comm_ids.begin(), comm_ids.end()).size(), 2U);
}

std::ptrdiff_t open_descriptors() {
  return std::distance(std::filesystem::directory_iterator("/proc/self/fd"), {});
}

// Roots linger for those that come too late, but not all of them.
TEST(Join_ManyInARow, HoldFewDescriptors) {
  const std::ptrdiff_t before = open_descriptors();
  for (int round = 0; round < 40; ++round) {
    const UniqueId id = create_unique_id("lo");
    const auto outcomes =
        run_threads(2, [&](int rank) { Bootstrap::join(id, 2, rank, soon(), nullptr); });
    for (const Outcome& outcome : outcomes) ASSERT_EQ(outcome.text, "");
  }
  EXPECT_LE(open_descriptors(), before + 2 * static_cast<std::ptrdiff_t>(Root::kMostLingering) + 8);
}

TEST(Join_LoopbackInterface, Works) {
  const UniqueId id = create_unique_id("lo");
  const auto outcomes =
      run_threads(3, [&](int rank) { Bootstrap::join(id, 3, rank, soon(), nullptr); });
  for (const Outcome& outcome : outcomes) EXPECT_EQ(outcome.text, "");
}

TEST(AllGather_EveryRankSendsAMegabyte_Completes, NineRanks) {
  const UniqueId id = create_unique_id("");
  const Table expected = expected_table(9, [](int) { return size_t{1} << 20; });
  const auto outcomes = run_threads(9, [&](int rank) {
    const auto bootstrap = Bootstrap::join(id, 9, rank, soon(), nullptr);
    EXPECT_TRUE(same(bootstrap->all_gather(expected[static_cast<size_t>(rank)], soon()), expected));
  });
  for (const Outcome& outcome : outcomes) EXPECT_EQ(outcome.text, "");
}

TEST(AllGather_MoreThan64MiB, FailsOnEveryRank) {
  const UniqueId id = create_unique_id("");
  const auto outcomes = run_threads(3, [&](int rank) {
    const auto bootstrap = Bootstrap::join(id, 3, rank, soon(), nullptr);
    bootstrap->all_gather(std::vector<std::byte>(size_t{30} << 20), soon());
  });
  for (const Outcome& outcome : outcomes) {
    EXPECT_EQ(outcome.code, StatusCode::kInvalidArgument);
    EXPECT_NE(outcome.text.find("at most 67108864 bytes"), std::string::npos) << outcome.text;
  }
}

struct ArgumentCase {
  int n_ranks, rank;
};
TEST(Join_ImpossibleRank, IsInvalidArgument) {
  for (const ArgumentCase& c : {ArgumentCase{0, 0}, ArgumentCase{4, 4}, ArgumentCase{4, -1}}) {
    const Outcome outcome =
        outcome_of([&] { Bootstrap::join(UniqueId{}, c.n_ranks, c.rank, soon(), nullptr); });
    EXPECT_EQ(outcome.code, StatusCode::kInvalidArgument) << outcome.text;
  }
}

TEST(Join_IdUsedTwice_SaysSo, AfterCompletion) {
  const UniqueId id = create_unique_id("");
  run_threads(2, [&](int rank) { Bootstrap::join(id, 2, rank, soon(), nullptr); });
  const Outcome second = outcome_of([&] { Bootstrap::join(id, 2, 0, soon(), nullptr); });
  EXPECT_EQ(second.code, StatusCode::kInvalidUsage);
  EXPECT_NE(second.text.find("complete with all its 2 ranks"), std::string::npos) << second.text;
}

}  // namespace
}  // namespace tutti::bootstrap
