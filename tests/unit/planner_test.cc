// SPDX-License-Identifier: Apache-2.0
// The algorithm table, the choice among its rows, and the cache of verified plans.
#include "src/planner/planner.h"

#include <atomic>
#include <latch>
#include <set>
#include <string>
#include <thread>
#include <vector>

#include <gtest/gtest.h>

#include "src/base/error.h"

namespace tutti::planner {
namespace {

using plan::Collective;

template <typename F>
std::string error_of(StatusCode code, F&& f) {
  try {
    f();
  } catch (const Error& error) {
    EXPECT_EQ(error.code(), code);
    return error.what();
  }
  return "no error";
}

TEST(AlgorithmTable, EachRow_IsCompleteAndUnique) {
  std::set<std::pair<Collective, std::string>> seen;
  for (const AlgorithmRow& row : algorithm_table()) {
    SCOPED_TRACE(row.name);
    EXPECT_TRUE(seen.insert({row.collective, row.name}).second);
    EXPECT_FALSE(std::string(row.source).empty());
    EXPECT_FALSE(std::string(row.limits).empty());
    EXPECT_EQ(find_algorithm(row.collective, row.name), &row);
  }
  EXPECT_EQ(find_algorithm(Collective::kAllReduce, "pairwise"), nullptr);
  EXPECT_EQ(find_algorithm(Collective::kAllReduce, ""), nullptr);
}

// Whatever the number of ranks, each collective has a plan, also for uneven blocks where the API
// has v-variants.
TEST(Choose, AnyRankCount_FindsARow) {
  for (int i = 0; i < plan::kCollectiveCount; ++i) {
    const auto collective = static_cast<Collective>(i);
    for (const int32_t n : {1, 2, 3, 16, 64, 65, 1000}) {
      const PlanRequest request{collective, n};
      EXPECT_NO_THROW(choose(request, {.n_ranks = n}, {})) << plan::name(collective) << " " << n;
      if (collective == Collective::kAllToAll || collective == Collective::kGather ||
          collective == Collective::kScatter) {
        EXPECT_TRUE(choose(request, {.n_ranks = n}, {.uneven = true}).uneven);
      }
    }
  }
}

TEST(Choose, OnOneHost_PrefersDirectAlgorithms) {
  struct Case {
    Collective collective;
    uint64_t bytes;
    const char* name;
  };
  const Case cases[] = {
      {Collective::kAllReduce, 8, "one_shot"},
      {Collective::kAllReduce, 1024, "one_shot"},
      {Collective::kAllReduce, 256 << 10, "two_shot"},
      {Collective::kAllReduce, 64 << 20, "two_shot"},
      {Collective::kAllGather, 64 << 20, "one_shot"},
      {Collective::kAllGather, 8, "one_shot"},
      {Collective::kReduceScatter, 8, "one_shot"},
      {Collective::kReduceScatter, 64 << 20, "one_shot"},
      {Collective::kBroadcast, 8, "one_shot"},
      {Collective::kBroadcast, 64 << 20, "one_shot"},
      {Collective::kReduce, 8, "one_shot"},
      {Collective::kReduce, 64 << 20, "one_shot"},
      {Collective::kAllToAll, 4096, "pairwise"},
      {Collective::kGather, 4096, "direct"},
      {Collective::kScatter, 4096, "direct"},
      {Collective::kBarrier, 0, "dissemination"},
  };
  for (const Case& c : cases) {
    for (const int32_t n : {2, 3, 4, 8, 16}) {
      for (const int32_t cores : {1, 2, 16, 64}) {
        const CostInput cost{.n_ranks = n, .cores = cores, .bytes = c.bytes};
        EXPECT_STREQ(choose({c.collective, n}, cost, {}).name, c.name)
            << plan::name(c.collective) << ", " << n << " ranks on " << cores << " cores, "
            << c.bytes << " bytes";
      }
    }
  }
}

TEST(Choose, ManyRanks_PrefersRelays) {
  for (const Collective collective :
       {Collective::kAllReduce, Collective::kAllGather, Collective::kBroadcast}) {
    for (const int32_t n : {48, 128}) {
      const CostInput cost{.n_ranks = n, .cores = n, .bytes = 64 << 20};
      const std::string name = choose({collective, n}, cost, {}).name;
      EXPECT_TRUE(name != "one_shot" && name != "two_shot")
          << plan::name(collective) << " " << name;
    }
  }
}

// ReduceScatter among many ranks that are no power of two has a logarithmic row too.
TEST(Choose, ReduceScatterOfManyRanks_PrefersLogarithmicRows) {
  for (const uint64_t bytes : {uint64_t{8}, uint64_t{64} << 20}) {
    const auto chosen = [&](int32_t n) {
      return std::string(
          choose({Collective::kReduceScatter, n}, {.n_ranks = n, .cores = n, .bytes = bytes}, {})
              .name);
    };
    EXPECT_EQ(chosen(100), "pat");
    EXPECT_EQ(chosen(128), "recursive_halving");
  }
}

TEST(Choose, Cost_IsFiniteAndGrowsWithBytes) {
  for (const AlgorithmRow& row : algorithm_table()) {
    for (const int32_t n : {1, 2, 7, 64}) {
      const double small = row.cost_ns({.n_ranks = n, .cores = 2, .bytes = 1024});
      const double large = row.cost_ns({.n_ranks = n, .cores = 2, .bytes = 1 << 30});
      EXPECT_GE(small, 0) << row.name;
      if (row.collective == Collective::kBarrier) continue;
      EXPECT_GT(large, small) << row.name << " " << n;
    }
  }
}

TEST(Choose, Forced_IsObeyedWhereItNamesARow) {
  const CostInput cost{.n_ranks = 4, .cores = 4, .bytes = 8};
  EXPECT_STREQ(choose({Collective::kAllReduce, 4}, cost, {.forced = "ring"}).name, "ring");
  // A row of other collectives only leaves this one free.
  EXPECT_STREQ(choose({Collective::kAllReduce, 4}, cost, {.forced = "bruck"}).name, "one_shot");
  // So does one that can't work with sizes that only their owners know.
  EXPECT_STREQ(choose({Collective::kGather, 4}, cost, {.forced = "binomial"}).name, "binomial");
  EXPECT_STREQ(choose({Collective::kGather, 4}, cost, {.uneven = true, .forced = "binomial"}).name,
               "direct");
}

TEST(Choose, WantedOrder_OnlyWhatIsProvedToFoldSo) {
  using verify::FoldOrder;
  for (const Collective collective :
       {Collective::kAllReduce, Collective::kReduce, Collective::kReduceScatter})
    for (int32_t n = 1; n <= 24; ++n)
      for (const FoldOrder least : {FoldOrder::kInOrder, FoldOrder::kInOrderOnce})
        for (const uint64_t bytes : {uint64_t{8}, uint64_t{1} << 28}) {
          const PlanRequest request{collective, n, plan::has_root(collective) ? n - 1 : 0};
          const CostInput cost{.n_ranks = n, .cores = 2, .bytes = bytes};
          const AlgorithmRow& row = choose(request, cost, {.least_order = least});
          EXPECT_GE(verified_plan(row, request)->verdict.fold_order, least) << row.name << " " << n;
        }
  // What only moves data is free.
  const CostInput cost{.n_ranks = 40, .cores = 2, .bytes = 1 << 28};
  EXPECT_STREQ(
      choose({Collective::kAllGather, 40}, cost, {.least_order = FoldOrder::kInOrderOnce}).name,
      choose({Collective::kAllGather, 40}, cost, {}).name);
}

// What deterministic mode costs in the choice of the plan (docs/design/deterministic.md).
TEST(Choose, WantedOrder_CostsNothingUpToSixteenRanks) {
  for (const Collective collective :
       {Collective::kAllReduce, Collective::kReduce, Collective::kReduceScatter})
    for (int32_t n = 2; n <= 16; ++n)
      for (const int32_t cores : {1, 2, 4, 8, 16, 64})
        for (uint64_t bytes = 8; bytes <= uint64_t{1} << 32; bytes *= 8) {
          const CostInput cost{.n_ranks = n, .cores = cores, .bytes = bytes};
          const verify::FoldOrder once = verify::FoldOrder::kInOrderOnce;
          ASSERT_STREQ(choose({collective, n}, cost, {.least_order = once}).name,
                       choose({collective, n}, cost, {}).name)
              << plan::name(collective) << " " << n << " ranks, " << cores << " cores, " << bytes;
        }
}

TEST(Choose, WantedOrderThatNothingHas_IsRefusedWithReason) {
  const auto refused = [](int32_t n, const char* forced, verify::FoldOrder least) {
    return error_of(StatusCode::kInvalidArgument, [&] {
      choose({Collective::kAllReduce, n}, {.n_ranks = n}, {.forced = forced, .least_order = least});
    });
  };
  EXPECT_EQ(
      refused(4, "ring", verify::FoldOrder::kInOrder),
      "deterministic mode: algorithm ring of all_reduce is proved to fold ranks 0 to 3 in any "
      "order, but needed is rank order: choose one of one_shot, two_shot, or leave TUTTI_ALGO "
      "unset");
  // Three ranks double in rank order, but in two steps.
  EXPECT_EQ(
      refused(3, "recursive_doubling", verify::FoldOrder::kInOrderOnce),
      "deterministic mode: algorithm recursive_doubling of all_reduce is proved to fold ranks "
      "0 to 2 in rank order, but needed is rank order in one step: choose one of one_shot, "
      "two_shot, tree, or leave TUTTI_ALGO unset");
  EXPECT_NO_THROW(
      choose({Collective::kAllReduce, 3}, {.n_ranks = 3},
             {.forced = "recursive_doubling", .least_order = verify::FoldOrder::kInOrder}));
  EXPECT_EQ(
      refused(65, "", verify::FoldOrder::kInOrder),
      "deterministic mode: no algorithm of all_reduce is proved to fold ranks 0 to 64 in rank "
      "order; use fewer ranks, or turn config.deterministic and TUTTI_DETERMINISTIC off");
}

TEST(Choose, BadRequest_IsRefusedWithReason) {
  struct Case {
    PlanRequest request;
    bool uneven;
    const char* forced;
    const char* message;
  };
  const Case cases[] = {
      {{Collective::kAllReduce, 4},
       false,
       "rign",
       "no algorithm is called \"rign\"; all_reduce has one_shot, two_shot, ring, tree, "
       "halving_doubling, "
       "recursive_doubling, swing, bine"},
      {{Collective::kAllGather, 6},
       false,
       "recursive_doubling",
       "algorithm recursive_doubling of all_gather needs a power of two of ranks, got 6 ranks: "
       "choose one of one_shot, "
       "ring, recursive_doubling, bruck, pat, bine, or leave TUTTI_ALGO unset"},
      {{Collective::kReduce, 65},
       false,
       "one_shot",
       "algorithm one_shot of reduce needs at most 64 ranks, got 65 ranks: choose one of one_shot, "
       "binomial, chain, bine, or "
       "leave TUTTI_ALGO unset"},
      {{Collective::kAllReduce, 4},
       true,
       "",
       "no algorithm of all_reduce supports block sizes that only their owners know on 4 ranks"},
      {{Collective::kAllReduce, 0}, false, "", "all_reduce: expected at least 1 rank, got 0"},
      {{Collective::kBroadcast, 4, 4}, false, "", "broadcast: expected a root from 0 to 3, got 4"},
      {{Collective::kBroadcast, 4, -1},
       false,
       "",
       "broadcast: expected a root from 0 to 3, got -1"},
      {{Collective::kAllGather, 4, 1}, false, "", "all_gather: expected a root from 0 to 0, got 1"},
      {{Collective::kAllReduce, 4, 0, 0},
       false,
       "",
       "all_reduce: expected 1 to 64 channels, got 0"},
      {{Collective::kAllReduce, 4, 0, 65},
       false,
       "",
       "all_reduce: expected 1 to 64 channels, got 65"},
  };
  for (const Case& c : cases) {
    EXPECT_EQ(error_of(StatusCode::kInvalidArgument,
                       [&] { choose(c.request, {}, {.uneven = c.uneven, .forced = c.forced}); }),
              c.message);
  }
}

std::atomic<int> builds{0};  // relaxed: counted by threads that are joined before it is read

AlgorithmRow row_with(plan::Plan (*build)(const PlanRequest&)) {
  AlgorithmRow row = *find_algorithm(Collective::kAllReduce, "ring");
  row.name = "test";
  row.build = build;
  return row;
}

TEST(VerifiedPlan, SameRequest_IsBuiltOnceAndShared) {
  const AlgorithmRow row = row_with([](const PlanRequest& request) {
    builds.fetch_add(1, std::memory_order_relaxed);
    return find_algorithm(Collective::kAllReduce, "ring")->build(request);
  });
  constexpr int kThreads = 8;
  std::latch start(kThreads);
  std::vector<std::shared_ptr<const VerifiedPlan>> plans(kThreads);
  std::vector<std::thread> threads;
  for (int i = 0; i < kThreads; ++i) {
    threads.emplace_back([&, i] {
      start.arrive_and_wait();
      plans[static_cast<size_t>(i)] = verified_plan(row, {Collective::kAllReduce, 7, 0, 2});
    });
  }
  for (std::thread& thread : threads) thread.join();
  EXPECT_EQ(builds.load(std::memory_order_relaxed), 1);
  for (const auto& plan : plans) EXPECT_EQ(plan, plans[0]);
  EXPECT_TRUE(plans[0]->verdict.accepted);
  EXPECT_EQ(plans[0]->hash, plan::hash(plans[0]->plan));
  EXPECT_NE(verified_plan(row, {Collective::kAllReduce, 7, 0, 1}), plans[0]);
}

TEST(VerifiedPlan, RejectedPlan_ThrowsEveryTime) {
  const AlgorithmRow row = row_with([](const PlanRequest& request) {
    plan::Plan plan = find_algorithm(Collective::kAllReduce, "ring")->build(request);
    plan.ranks[1].lanes[0].steps.pop_back();
    return plan;
  });
  for (int i = 0; i < 2; ++i) {
    const std::string message = error_of(StatusCode::kInternalError, [&] {
      verified_plan(row, {Collective::kAllReduce, 3});
    });
    EXPECT_TRUE(message.starts_with(
        "the verifier rejects the plan of algorithm test for all_reduce on 3 ranks, root 0, "
        "channels 1: "))
        << message;
  }
}

TEST(VerifiedPlan, WrongRequest_IsRefused) {
  const AlgorithmRow& ring = *find_algorithm(Collective::kAllReduce, "ring");
  EXPECT_EQ(error_of(StatusCode::kInvalidArgument,
                     [&] {
                       verified_plan(ring, {Collective::kAllGather, 4});
                     }),
            "algorithm ring of all_reduce can't make a plan for all_gather");
  const AlgorithmRow& halving = *find_algorithm(Collective::kReduceScatter, "recursive_halving");
  EXPECT_THROW(verified_plan(halving, {Collective::kReduceScatter, 6}), Error);
  EXPECT_THROW(verified_plan(ring, {Collective::kAllReduce, 0}), Error);
}

}  // namespace
}  // namespace tutti::planner
