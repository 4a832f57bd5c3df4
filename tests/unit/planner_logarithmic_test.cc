// SPDX-License-Identifier: Apache-2.0
// The logarithmic algorithms: the longest chain of messages is as long as they claim, and one slot
// is enough.
#include <algorithm>
#include <bit>
#include <cmath>
#include <string>
#include <vector>

#include <gtest/gtest.h>
#include <spdlog/fmt/fmt.h>

#include "src/planner/planner.h"
#include "src/verify/routes.h"
#include "src/verify/simulator.h"
#include "tests/support/fabric.h"

namespace tutti::planner {
namespace {

using plan::Collective;

plan::Plan planned(Collective collective, const char* algorithm, int32_t n_ranks,
                   int32_t root = 0) {
  return find_algorithm(collective, algorithm)
      ->build({.collective = collective, .n_ranks = n_ranks, .root = root});
}

// ---- chains ----

// Messages on the longest chain: the time of tiny ones, in latencies.
double simulated_hops(const plan::Plan& plan, int32_t slots) {
  constexpr int64_t kHopNs = 1000;  // of each of the two links between ranks
  const testing::Fabric fabric =
      testing::star(plan.shape.n_ranks, 1000 * testing::kMbitPerBytePerNs, kHopNs);
  const verify::Placement placement =
      verify::place_by_shortest_paths(plan, fabric.graph, fabric.hosts);
  return verify::simulate(plan, placement, fabric.graph, 1, {.slots = slots}).time_ns /
         (2 * kHopNs);
}

int32_t floor_log2(int32_t n) { return std::bit_width(static_cast<uint32_t>(n)) - 1; }
int32_t ceil_log2(int32_t n) { return std::bit_width(static_cast<uint32_t>(n - 1)); }

int32_t once(int32_t n) { return ceil_log2(n); }
int32_t there_and_back(int32_t n) { return 2 * ceil_log2(n); }
int32_t folded(int32_t n) { return floor_log2(n) < ceil_log2(n) ? 2 : 0; }

struct Chain {
  Collective collective;
  const char* algorithm;
  int32_t (*most_hops)(int32_t n);
  int32_t per_slot;  // where a message is a block, n / slots that it takes not to be longer; else 0
};

constexpr Chain kChains[] = {
    {Collective::kAllReduce, "halving_doubling",
     [](int32_t n) { return 2 * floor_log2(n) + folded(n); }, 4},
    {Collective::kAllReduce, "tree", there_and_back, 0},
    {Collective::kAllReduce, "recursive_doubling",
     [](int32_t n) { return floor_log2(n) + folded(n); }, 0},
    {Collective::kReduce, "binomial", once, 0},
    {Collective::kBroadcast, "binomial", once, 0},
    {Collective::kAllGather, "recursive_doubling", once, 4},
    {Collective::kAllGather, "bruck", once, 4},
    {Collective::kReduceScatter, "recursive_halving", once, 4},
    {Collective::kGather, "binomial", once, 2},
    {Collective::kScatter, "binomial", once, 2},
    {Collective::kBarrier, "dissemination", once, 0},
};

std::string describe(const Chain& chain, int32_t n) {
  return fmt::format("{} {} of {} ranks", chain.algorithm, plan::name(chain.collective), n);
}

TEST(LogarithmicAlgorithm, PowerOfTwo_LongestChainIsAsClaimed) {
  constexpr int32_t kUnlimited = 1 << 20;
  for (const Chain& chain : kChains) {
    for (const int32_t n : {2, 4, 8, 16, 64}) {
      SCOPED_TRACE(describe(chain, n));
      const plan::Plan plan = planned(chain.collective, chain.algorithm, n);
      const int32_t hops = chain.most_hops(n);
      const int32_t slots = chain.per_slot == 0 ? 1 : std::max(1, n / chain.per_slot);
      EXPECT_NEAR(simulated_hops(plan, kUnlimited), hops, 0.01);
      EXPECT_NEAR(simulated_hops(plan, slots), hops, 0.01);
    }
  }
}

// Where some subtrees of a binomial tree are missing, the deepest may be among them.
TEST(LogarithmicAlgorithm, OtherNumbers_LongestChainIsWithinTheClaim) {
  for (const Chain& chain : kChains) {
    for (const int32_t n : {3, 6, 7, 12, 23, 24, 48}) {
      const PlanRequest request{chain.collective, n};
      const AlgorithmRow& row = *find_algorithm(chain.collective, chain.algorithm);
      if (!row.supports(request)) continue;
      SCOPED_TRACE(describe(chain, n));
      const double hops = simulated_hops(row.build(request), n);
      EXPECT_LE(hops, chain.most_hops(n) + 0.01);
      EXPECT_GE(hops, floor_log2(n) - 0.01);
    }
  }
}

TEST(LogarithmicAlgorithm, OneSlot_IsEnoughForManyRanks) {
  for (const Chain& chain : kChains) {
    for (const int32_t n : {31, 48, 63, 64}) {
      const PlanRequest request{chain.collective, n};
      const AlgorithmRow& row = *find_algorithm(chain.collective, chain.algorithm);
      if (!row.supports(request)) continue;
      SCOPED_TRACE(describe(chain, n));
      const verify::Verdict verdict = verify::verify(row.build(request));
      EXPECT_TRUE(verdict.accepted) << verdict.reason;
      EXPECT_EQ(verdict.min_slots, 1);
    }
  }
}

}  // namespace
}  // namespace tutti::planner
