// SPDX-License-Identifier: Apache-2.0
// The logarithmic algorithms: the longest chain of messages is as long as they claim, one slot is
// enough, and partners and trees are those of their papers.
#include <algorithm>
#include <bit>
#include <cmath>
#include <cstdlib>
#include <map>
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
    {Collective::kAllReduce, "swing",
     [](int32_t n) { return 2 * ceil_log2(n - n % 2) + (n % 2 == 0 ? 0 : 2); }, 4},
    {Collective::kAllReduce, "bine", there_and_back, 0},
    {Collective::kAllReduce, "tree", there_and_back, 0},
    {Collective::kAllReduce, "recursive_doubling",
     [](int32_t n) { return floor_log2(n) + folded(n); }, 0},
    {Collective::kReduce, "binomial", once, 0},
    {Collective::kReduce, "bine", once, 0},
    {Collective::kBroadcast, "binomial", once, 0},
    {Collective::kBroadcast, "bine", once, 0},
    {Collective::kAllGather, "recursive_doubling", once, 4},
    {Collective::kAllGather, "bruck", once, 4},
    {Collective::kAllGather, "pat", once, 4},
    {Collective::kAllGather, "bine", once, 4},
    {Collective::kReduceScatter, "recursive_halving", once, 4},
    {Collective::kReduceScatter, "pat", once, 4},
    {Collective::kReduceScatter, "bine", once, 4},
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

// ---- partners ----

// Messages that a rank sends, by the rank that gets them.
std::map<int32_t, int32_t> sent_by(const plan::Plan& plan, int32_t rank) {
  std::map<int32_t, int32_t> messages;
  for (const plan::Lane& lane : plan.ranks[static_cast<size_t>(rank)].lanes)
    for (const plan::Step& step : lane.steps)
      for (const plan::Operand& sink : step.sinks)
        if (sink.kind == plan::Operand::Kind::kPeer) ++messages[sink.index];
  return messages;
}

int32_t on_ring(int64_t position, int32_t n) {
  return static_cast<int32_t>((position % n + n) % n);
}

// (1 - (-2)^(s+1)) / 3, as in Swing's equation.
int64_t swing_rho(int32_t s) { return std::lround((1 - std::pow(-2.0, s + 1)) / 3); }

// In step s half of what was left before goes to the partner of the step, in both halves.
std::map<int32_t, int32_t> swing_partners(int32_t rank, int32_t n, int32_t phases) {
  std::map<int32_t, int32_t> messages;
  for (int32_t s = 0; n >> (s + 1) > 0; ++s)
    messages[on_ring(rank % 2 == 0 ? rank + swing_rho(s) : rank - swing_rho(s), n)] +=
        phases * (n >> (s + 1));
  return messages;
}

TEST(Swing, PowerOfTwo_HalvesTheChunksFromStepToStep) {
  for (const int32_t n : {2, 4, 8, 16, 64})
    for (int32_t rank = 0; rank < n; ++rank)
      EXPECT_EQ(sent_by(planned(Collective::kAllReduce, "swing", n), rank),
                swing_partners(rank, n, 2))
          << n << " ranks, rank " << rank;
}

// The equation above, spelt out once.
TEST(Swing, SixteenRanks_MeetThoseOfThePaper) {
  const std::map<int32_t, int32_t> of_0{{1, 16}, {15, 8}, {3, 4}, {11, 2}};
  const std::map<int32_t, int32_t> of_5{{4, 16}, {6, 8}, {2, 4}, {10, 2}};
  const plan::Plan plan = planned(Collective::kAllReduce, "swing", 16);
  EXPECT_EQ(sent_by(plan, 0), of_0);
  EXPECT_EQ(sent_by(plan, 5), of_5);
}

TEST(Swing, EvenNumber_SendsEachChunkOnce) {
  for (const int32_t n : {6, 10, 12, 14, 18, 22, 100}) {
    const plan::Plan plan = planned(Collective::kAllReduce, "swing", n);
    for (int32_t rank = 0; rank < n; ++rank) {
      int32_t messages = 0;
      for (const auto& [to, count] : sent_by(plan, rank)) {
        messages += count;
        EXPECT_NE((to - rank) % 2, 0) << "even ranks meet odd ones";
      }
      EXPECT_EQ(messages, 2 * (n - 1)) << n << " ranks, rank " << rank;
    }
  }
}

TEST(Bine, PowerOfTwo_GathersAndScattersWithSwingsPartners) {
  for (const int32_t n : {2, 8, 32}) {
    for (int32_t rank = 0; rank < n; ++rank) {
      EXPECT_EQ(sent_by(planned(Collective::kAllGather, "bine", n), rank),
                swing_partners(rank, n, 1));
      EXPECT_EQ(sent_by(planned(Collective::kReduceScatter, "bine", n), rank),
                swing_partners(rank, n, 1));
    }
  }
}

// Digits of base -2: rank r of p = 2^s is r, or r - p where s digits do not reach r.
uint32_t negabinary(int32_t rank, int32_t p) {
  int32_t most = 0;
  for (int32_t power = 1; power < p; power *= 4) most += power;
  int32_t value = rank <= most ? rank : rank - p;
  uint32_t digits = 0;
  for (uint32_t bit = 1; value != 0; bit *= 2) {
    const int32_t digit = std::abs(value % 2);
    if (digit == 1) digits |= bit;
    value = (value - digit) / -2;
  }
  return digits;
}

// Bine: a rank whose u lowest negabinary digits are alike, and no more, gets the data in step s - u
// from the rank in which they are the others.
TEST(Bine, Broadcast_FollowsTheNegabinaryNumbers) {
  for (const int32_t p : {2, 4, 8, 16, 64, 256}) {
    std::map<uint32_t, int32_t> rank_of;
    for (int32_t rank = 0; rank < p; ++rank) rank_of[negabinary(rank, p)] = rank;
    ASSERT_EQ(rank_of.size(), static_cast<size_t>(p));
    const plan::Plan plan = planned(Collective::kBroadcast, "bine", p);
    for (int32_t rank = 1; rank < p; ++rank) {
      const uint32_t digits = negabinary(rank, p);
      uint32_t flipped = digits ^ 1;
      for (uint32_t bit = 2; bit < static_cast<uint32_t>(p); bit *= 2) {
        if (((digits & bit) != 0) != ((digits & 1) != 0)) break;
        flipped ^= bit;
      }
      const plan::Step& step = plan.ranks[static_cast<size_t>(rank)].lanes[0].steps[0];
      ASSERT_EQ(step.sources.size(), 1u);
      EXPECT_EQ(step.sources[0].index, rank_of.at(flipped)) << rank << " of " << p;
    }
  }
}

TEST(Bine, AnyNumber_TreeReachesEachRankOnce) {
  for (int32_t n = 2; n <= 300; ++n) {
    const plan::Plan plan = planned(Collective::kBroadcast, "bine", n, n / 3);
    std::map<int32_t, int32_t> received;
    for (int32_t rank = 0; rank < n; ++rank)
      for (const auto& [to, count] : sent_by(plan, rank)) received[to] += count;
    EXPECT_EQ(received.size(), static_cast<size_t>(n - 1)) << n;
    EXPECT_EQ(received.count(n / 3), 0u) << n;
    for (const auto& [to, count] : received) EXPECT_EQ(count, 1) << to << " of " << n;
  }
}

// The sum of the distances around the ring, of all messages.
int64_t distance_sum(const plan::Plan& plan) {
  const int32_t n = plan.shape.n_ranks;
  int64_t sum = 0;
  for (int32_t rank = 0; rank < n; ++rank)
    for (const auto& [to, count] : sent_by(plan, rank))
      sum += int64_t{count} * std::min(on_ring(to - rank, n), on_ring(rank - to, n));
  return sum;
}

TEST(Bine, Broadcast_TravelsLessThanBinomial) {
  for (const int32_t n : {16, 64, 256}) {
    const auto bine =
        static_cast<double>(distance_sum(planned(Collective::kBroadcast, "bine", n, n / 2)));
    const auto binomial =
        static_cast<double>(distance_sum(planned(Collective::kBroadcast, "binomial", n, n / 2)));
    EXPECT_LT(bine, 0.85 * binomial) << n;
  }
}

TEST(Pat, FarSteps_CarryFewBlocks) {
  for (const int32_t n : {2, 8, 16, 64}) {
    for (const int32_t rank : {0, 1, n - 1}) {
      std::map<int32_t, int32_t> ahead;
      std::map<int32_t, int32_t> behind;
      for (int32_t distance = 1; distance < n; distance *= 2) {
        ahead[on_ring(rank + distance, n)] += n / 2 / distance;
        behind[on_ring(rank - distance, n)] += n / 2 / distance;
      }
      EXPECT_EQ(sent_by(planned(Collective::kAllGather, "pat", n), rank), ahead);
      EXPECT_EQ(sent_by(planned(Collective::kReduceScatter, "pat", n), rank), behind);
    }
  }
}

// Bruck sends half of all blocks across half of the ring; PAT sends one.
TEST(Pat, Blocks_TravelLessThanBrucks) {
  for (const int32_t n : {16, 33, 64})
    EXPECT_LT(distance_sum(planned(Collective::kAllGather, "pat", n)),
              distance_sum(planned(Collective::kAllGather, "bruck", n)) / 2)
        << n;
}

}  // namespace
}  // namespace tutti::planner
