// Plans for several hosts: layouts as values, two-level plans proved and run on real numbers, and
// the bytes that they put on the network against the least that there is.
#include <algorithm>
#include <bit>
#include <string>
#include <vector>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "src/base/error.h"
#include "src/planner/hosts.h"
#include "src/planner/network_load.h"
#include "src/planner/planner.h"
#include "tests/support/plan_interpreter.h"

namespace tutti::planner {
namespace {

using plan::Collective;
using testing::ElementsAre;
using testing::HasSubstr;

Hosts layout(const std::string& text) {
  return Hosts::parse(text, ranks_in_layout(text), "a layout");
}

constexpr const char* kLayouts[] = {
    "2x2",
    "3x2",
    "2x4",
    "4x3",
    "5x2",
    "8x2",
    "0,0,0,1,2,2",  // hosts of 3, 1 and 2
    "0,0,1",
    "0,1,1",
    "0,1,0,1",                    // interleaved
    "0,1,2,0,1,2",                // the same, three hosts
    "0,1,1,0,2,0,1",              // interleaved and unequal
    "0,1,2,3,0,1,2,3,3,3,1,0,0",  // four hosts of 4, 3, 2 and 4
};

std::vector<const AlgorithmRow*> layered_rows() {
  std::vector<const AlgorithmRow*> rows;
  for (const AlgorithmRow& row : algorithm_table())
    if (row.layered) rows.push_back(&row);
  return rows;
}

// Every request for the row on the layout that it supports.
std::vector<PlanRequest> requests(const AlgorithmRow& row, const Hosts& hosts) {
  const int32_t n = hosts.n_ranks();
  std::vector<PlanRequest> all;
  for (int32_t root = 0; root < (plan::has_root(row.collective) ? n : 1); ++root)
    for (int32_t channels = 1; channels <= 2; ++channels)
      all.push_back({row.collective, n, root, channels, hosts});
  std::erase_if(all, [&](const PlanRequest& request) { return !row.supports(request); });
  return all;
}

std::string describe(const PlanRequest& r) {
  return r.hosts.text() + ", root " + std::to_string(r.root) + ", channels " +
         std::to_string(r.channels);
}

// ---- layouts ----

TEST(Hosts, OfLabels_AreNumberedByFirstRank) {
  const uint64_t labels[] = {77, 5, 77, 900, 5};
  const uint64_t others[] = {1, 2, 1, 3, 2};
  const Hosts hosts = Hosts::of(labels);
  EXPECT_EQ(hosts, Hosts::of(others));
  EXPECT_EQ(hosts.id(), Hosts::of(others).id());
  EXPECT_EQ(hosts.n_hosts(), 3);
  EXPECT_THAT(hosts.ranks_of(0), ElementsAre(0, 2));
  EXPECT_THAT(hosts.ranks_of(1), ElementsAre(1, 4));
  EXPECT_EQ(hosts.host_of(3), 2);
  EXPECT_EQ(hosts.fewest_ranks(), 1);
  EXPECT_EQ(hosts.most_ranks(), 2);
  EXPECT_EQ(hosts.text(), "0,1,0,2,1");
}

TEST(Hosts, OneHostOrOneRankEach_HaveNoLevels) {
  const uint64_t same[] = {4, 4, 4};
  EXPECT_EQ(Hosts::of(same), Hosts());
  EXPECT_FALSE(Hosts::of(same).several());
  EXPECT_EQ(layout("1x3"), Hosts());
  EXPECT_TRUE(layout("3x1").several());
  EXPECT_FALSE(layout("3x1").layered());
  EXPECT_EQ(layout("3x1").for_plans(), Hosts());
  EXPECT_EQ(layout("3x2").for_plans(), layout("0,0,1,1,2,2"));
  EXPECT_NE(layout("3x2"), layout("2x3"));
}

TEST(Hosts, Parse_RefusesWhatIsNoLayout) {
  for (const char* text : {"", "3x", "x2", "0x4", "3x2x1", "0,,1", "0,1,", "-1,0", "a,b", "3 x 2",
                           "99999999x99999999", "0,1,2"}) {
    try {
      Hosts::parse(text, 6, "TUTTI_LAYOUT");
      ADD_FAILURE() << "accepted '" << text << "'";
    } catch (const Error& error) {
      EXPECT_EQ(error.code(), StatusCode::kInvalidArgument);
      EXPECT_THAT(error.what(), HasSubstr("TUTTI_LAYOUT: expected HOSTSxRANKS"));
      EXPECT_THAT(error.what(), HasSubstr("for 6 ranks"));
    }
  }
}

TEST(Hosts, InHostOrder_BeginsWithTheRankAndKeepsHostsTogether) {
  EXPECT_THAT(in_host_order(Hosts(), 4, 2), ElementsAre(2, 3, 0, 1));
  EXPECT_THAT(in_host_order(layout("0,1,2,0,1,2"), 6, 0), ElementsAre(0, 3, 1, 4, 2, 5));
  EXPECT_THAT(in_host_order(layout("0,1,2,0,1,2"), 6, 4), ElementsAre(4, 1, 2, 5, 0, 3));
  EXPECT_THAT(in_host_order(layout("3x2"), 6, 0), ElementsAre(0, 1, 2, 3, 4, 5));
}

// ---- plans ----

class LayeredRow : public testing::TestWithParam<size_t> {
 protected:
  const AlgorithmRow& row() const { return *layered_rows()[GetParam()]; }
  bool is(const char* name) const { return std::string(row().name) == name; }
};

TEST_P(LayeredRow, EveryLayout_IsAcceptedWithTwoSlots) {
  for (const char* text : kLayouts) {
    for (const PlanRequest& request : requests(row(), layout(text))) {
      const plan::Plan plan = row().build(request);
      EXPECT_EQ(plan.algorithm, row().name);
      const verify::Verdict verdict = verify::verify(plan);
      ASSERT_TRUE(verdict.accepted) << describe(request) << ": " << verdict.reason;
      EXPECT_LE(verdict.min_slots, 2) << describe(request);
    }
  }
}

TEST_P(LayeredRow, EveryLayout_ComputesTheCollective) {
  uint64_t seed = 1;
  for (const char* text : kLayouts) {
    for (const PlanRequest& request : requests(row(), layout(text))) {
      const plan::Plan plan = row().build(request);
      for (const bool in_place : {false, true}) {
        const test::InterpreterOptions options{
            .slots = 2, .tiles = 3, .in_place = in_place, .seed = ++seed};
        EXPECT_EQ(test::interpret(plan, options), "") << describe(request);
      }
    }
  }
}

// Like the flat rows: what goes by reference stays as it is until it is read. Only a leader that is
// alone on its host, in the tree's AllReduce, overwrites the input that it has sent.
TEST_P(LayeredRow, References_SafeWhereDocumented) {
  const bool adds_up = is("two_level_tree") && row().collective == Collective::kAllReduce;
  for (const char* text : {"3x2", "2x4", "0,1,1,0,2,0,1"}) {
    for (const PlanRequest& request : requests(row(), layout(text))) {
      bool safe = true;
      bool safe_in_place = true;
      for (const auto& connection : verify::verify(row().build(request)).connections) {
        safe = safe && connection.reference_safe_out_of_place;
        safe_in_place = safe_in_place && connection.reference_safe_in_place;
      }
      EXPECT_TRUE(safe) << describe(request);
      EXPECT_EQ(safe_in_place, !(adds_up && request.hosts.fewest_ranks() == 1))
          << describe(request);
    }
  }
}

TEST_P(LayeredRow, WithoutLevels_IsRefusedByName) {
  for (const char* text : {"", "4x1"}) {
    const Hosts hosts = *text == 0 ? Hosts() : layout(text).for_plans();
    const PlanRequest request{.collective = row().collective, .n_ranks = 4, .hosts = hosts};
    try {
      choose(request, {.n_ranks = 4}, {.forced = row().name});
      ADD_FAILURE() << "accepted";
    } catch (const Error& error) {
      EXPECT_THAT(error.what(), HasSubstr("needs "));
      EXPECT_THAT(error.what(), HasSubstr("got 4 ranks (1 host)"));
    }
  }
}

TEST_P(LayeredRow, BytesOnTheNetwork_AreTheLeast) {
  if (is("two_level_tree") && row().collective == Collective::kAllReduce) return;  // below
  for (const char* text : kLayouts) {
    const Hosts hosts = layout(text);
    for (const PlanRequest& request : requests(row(), hosts)) {
      const NetworkLoad load = network_load(row().build(request), hosts);
      const LeastLoad least = least_load(row().collective, hosts, request.root);
      EXPECT_LE(load.total_blocks, 1.02 * least.total_blocks) << describe(request);
      EXPECT_GE(load.total_blocks, 0.999999 * least.total_blocks) << describe(request);
      const bool alike = hosts.fewest_ranks() == hosts.most_ranks();
      if (is("two_level_tree") || (is("two_level_direct") && !alike))
        continue;  // one host sends more than the others
      EXPECT_LE(load.host_blocks, 1.02 * least.host_blocks) << describe(request);
    }
  }
}

// The doubling of leaders sends more than the least, for fewer hops: S log2 p from each of p hosts,
// and S to and from each of the others.
TEST(TwoLevelTree, AllReduce_SendsWhatDoublingSends) {
  const AlgorithmRow& row = *find_algorithm(Collective::kAllReduce, "two_level_tree");
  for (const char* text : kLayouts) {
    const Hosts hosts = layout(text);
    const auto h = static_cast<uint32_t>(hosts.n_hosts());
    const auto bits = static_cast<uint32_t>(std::bit_width(h)) - 1;
    const uint32_t corners = 1U << bits;
    const NetworkLoad load = network_load(row.build(requests(row, hosts).front()), hosts);
    EXPECT_NEAR(load.total_blocks, corners * bits + 2 * (h - corners), 1e-9) << text;
    EXPECT_LE(load.hops, static_cast<int32_t>(bits) + 2) << text;
  }
}

INSTANTIATE_TEST_SUITE_P(Table, LayeredRow, testing::Range<size_t>(0, layered_rows().size()),
                         [](const auto& info) {
                           const AlgorithmRow& row = *layered_rows()[info.param];
                           return std::string(plan::name(row.collective)) + "_" + row.name;
                         });

// ---- what plans put on the network ----

NetworkLoad load_of(Collective collective, const char* name, const std::string& text,
                    bool with_hosts = true) {
  const Hosts hosts = layout(text);
  const PlanRequest request{
      .collective = collective, .n_ranks = hosts.n_ranks(), .hosts = with_hosts ? hosts : Hosts()};
  return network_load(find_algorithm(collective, name)->build(request), hosts);
}

// By hand, 3 hosts of 2 ranks.
TEST(NetworkLoad, KnownPlans_HaveKnownLoads) {
  const NetworkLoad ring = load_of(Collective::kAllReduce, "ring", "3x2");
  EXPECT_NEAR(ring.host_blocks, 2 * 5.0 / 6, 1e-9);  // one rank of each host sends 2 S (n-1)/n
  EXPECT_NEAR(ring.total_blocks, 3 * 2 * 5.0 / 6, 1e-9);
  EXPECT_EQ(ring.connections, 3);
  const NetworkLoad two_level = load_of(Collective::kAllReduce, "two_level", "3x2");
  EXPECT_NEAR(two_level.host_blocks, 2 * 2.0 / 3, 1e-9);
  EXPECT_NEAR(two_level.rank_blocks, 2 * 2.0 / 3, 1e-9);  // half of it out, half of it in
  EXPECT_EQ(two_level.connections, 6);
  EXPECT_EQ(two_level.hops, 4);
  EXPECT_EQ(load_of(Collective::kAllReduce, "two_level_direct", "3x2").hops, 2);
  EXPECT_EQ(load_of(Collective::kAllReduce, "two_level_halving", "4x3").hops, 4);
  EXPECT_EQ(load_of(Collective::kAllReduce, "two_level_tree", "4x3").hops, 2);
  EXPECT_EQ(load_of(Collective::kAllReduce, "two_level_tree", "3x2").hops, 2);
  EXPECT_EQ(load_of(Collective::kAllReduce, "two_level_tree", "7x2").hops, 4);
  EXPECT_EQ(load_of(Collective::kBroadcast, "two_level_tree", "4x3").hops, 2);
  EXPECT_EQ(load_of(Collective::kBarrier, "two_level", "4x3").hops, 2);
  EXPECT_EQ(load_of(Collective::kAllGather, "two_level_direct", "4x3").hops, 1);
  const NetworkLoad one_shot = load_of(Collective::kAllReduce, "one_shot", "3x2");
  EXPECT_NEAR(one_shot.host_blocks, 8, 1e-9);  // each of 2 ranks to each of 4
  EXPECT_EQ(one_shot.hops, 1);
  EXPECT_EQ(network_load(find_algorithm(Collective::kAllReduce, "ring")
                             ->build({.collective = Collective::kAllReduce, .n_ranks = 4}),
                         Hosts())
                .connections,
            0);
}

// Nothing beats the bound: the counter and the formulas hold each other.
TEST(NetworkLoad, EveryFlatRow_SendsAtLeastTheBound) {
  for (const char* text : kLayouts) {
    const Hosts hosts = layout(text);
    for (const AlgorithmRow& row : algorithm_table()) {
      for (const PlanRequest& request : requests(row, hosts)) {
        const NetworkLoad load = network_load(row.build(request), hosts);
        const LeastLoad least = least_load(row.collective, hosts, request.root);
        EXPECT_GE(load.total_blocks, 0.999999 * least.total_blocks)
            << row.name << " " << describe(request);
        EXPECT_GE(load.host_blocks, 0.999999 * least.host_blocks)
            << row.name << " " << describe(request);
      }
    }
  }
}

// Interleaved ranks: a ring in rank order crosses at every step, one in host order once per host.
TEST(Ring, InterleavedLayout_CrossesEachBorderOncePerDirection) {
  const NetworkLoad plain = load_of(Collective::kAllReduce, "ring", "0,1,2,0,1,2", false);
  const NetworkLoad ordered = load_of(Collective::kAllReduce, "ring", "0,1,2,0,1,2");
  EXPECT_EQ(plain.connections, 6);
  EXPECT_EQ(ordered.connections, 3);
  EXPECT_NEAR(plain.total_blocks, 2 * ordered.total_blocks, 1e-9);
  EXPECT_EQ(load_of(Collective::kBroadcast, "chain", "0,1,2,0,1,2").connections, 2);
}

TEST(RingAndChain, InterleavedLayouts_AreAcceptedAndRight) {
  for (const char* text : kLayouts) {
    for (const AlgorithmRow& row : algorithm_table()) {
      if (std::string(row.name) != "ring" && std::string(row.name) != "chain") continue;
      for (const PlanRequest& request : requests(row, layout(text))) {
        const plan::Plan plan = row.build(request);
        const verify::Verdict verdict = verify::verify(plan);
        ASSERT_TRUE(verdict.accepted) << describe(request) << ": " << verdict.reason;
        EXPECT_EQ(test::interpret(plan, {}), "") << describe(request);
      }
    }
  }
}

// PXN: a rank has one connection by network per other host and direction.
TEST(AllToAll, TwoLevels_HasFewConnections) {
  EXPECT_EQ(load_of(Collective::kAllToAll, "pairwise", "3x4").connections, 12 * 8);
  EXPECT_EQ(load_of(Collective::kAllToAll, "two_level", "3x4").connections, 12 * 2);
}

// ---- the choice ----

std::string chosen(Collective collective, const std::string& text, uint64_t bytes,
                   const NetworkParameters& network = kTcpNetwork) {
  const Hosts hosts = layout(text);
  const PlanRequest request{
      .collective = collective, .n_ranks = hosts.n_ranks(), .hosts = hosts.for_plans()};
  const CostInput cost{
      .n_ranks = hosts.n_ranks(), .cores = 16, .bytes = bytes, .hosts = hosts, .network = network};
  return choose(request, cost, {}).name;
}

TEST(ChooseOnHosts, LargeMessages_GoByRails) {
  for (const char* text : {"3x2", "2x4", "4x3", "0,1,2,0,1,2"}) {
    for (const NetworkParameters& network : {kTcpNetwork, kRdmaNetwork}) {
      for (const Collective collective :
           {Collective::kAllReduce, Collective::kAllGather, Collective::kReduceScatter}) {
        EXPECT_THAT(chosen(collective, text, 64 << 20, network), HasSubstr("two_level"))
            << plan::name(collective) << " " << text;
      }
    }
  }
}

TEST(ChooseOnHosts, SmallMessages_CrossTheNetworkFewTimes) {
  EXPECT_EQ(chosen(Collective::kBarrier, "8x4", 0), "two_level");
  EXPECT_THAT(chosen(Collective::kBroadcast, "8x4", 8), HasSubstr("two_level_tree"));
  const std::string name = chosen(Collective::kAllReduce, "8x4", 8);
  const NetworkLoad load = load_of(Collective::kAllReduce, name.c_str(), "8x4");
  EXPECT_LE(load.hops, 3) << name;
}

// Relaying makes few connections of many; what it copies once more costs more for large blocks.
TEST(ChooseOnHosts, AllToAll_RelaysSmallBlocks) {
  for (const NetworkParameters& network : {kTcpNetwork, kRdmaNetwork}) {
    EXPECT_EQ(chosen(Collective::kAllToAll, "3x4", 64, network), "two_level");
    EXPECT_EQ(chosen(Collective::kAllToAll, "3x4", 1 << 20, network), "pairwise");
  }
}

TEST(ChooseOnHosts, OneRankPerHost_IsChosenAsBefore) {
  for (const uint64_t bytes : {uint64_t{8}, uint64_t{64} << 20})
    EXPECT_THAT(chosen(Collective::kAllReduce, "4x1", bytes), testing::Not(HasSubstr("two_level")));
}

// In deterministic mode only what is proved to fold in rank order.
TEST(ChooseOnHosts, RankOrderWanted_TwoLevelsAreLeftOut) {
  const Hosts hosts = layout("3x2");
  const PlanRequest request{.collective = Collective::kAllReduce, .n_ranks = 6, .hosts = hosts};
  const CostInput cost{.n_ranks = 6, .cores = 2, .bytes = 64 << 20, .hosts = hosts};
  const AlgorithmRow& row = choose(request, cost, {.least_order = verify::FoldOrder::kInOrderOnce});
  EXPECT_FALSE(row.layered) << row.name;
  EXPECT_THROW(choose(request, cost,
                      {.forced = "two_level", .least_order = verify::FoldOrder::kInOrderOnce}),
               Error);
}

TEST(VerifiedPlan, OfAnotherLayout_IsAnotherPlan) {
  const AlgorithmRow& row = *find_algorithm(Collective::kAllReduce, "two_level");
  const PlanRequest a{.collective = row.collective, .n_ranks = 6, .hosts = layout("3x2")};
  const PlanRequest b{.collective = row.collective, .n_ranks = 6, .hosts = layout("2x3")};
  EXPECT_NE(verified_plan(row, a)->hash, verified_plan(row, b)->hash);
  EXPECT_EQ(verified_plan(row, a), verified_plan(row, a));
}

// Rows that do not look at hosts have one plan for all layouts.
TEST(VerifiedPlan, OfARowWithoutHosts_IsShared) {
  const AlgorithmRow& tree = *find_algorithm(Collective::kAllReduce, "tree");
  const AlgorithmRow& ring = *find_algorithm(Collective::kAllReduce, "ring");
  const PlanRequest flat{.collective = Collective::kAllReduce, .n_ranks = 4};
  PlanRequest interleaved = flat;
  interleaved.hosts = layout("0,1,0,1");
  EXPECT_EQ(verified_plan(tree, interleaved), verified_plan(tree, flat));
  EXPECT_NE(verified_plan(ring, interleaved)->hash, verified_plan(ring, flat)->hash);
}

TEST(CheckRequest, HostsOfOtherRanks_AreRefused) {
  const AlgorithmRow& row = *find_algorithm(Collective::kAllReduce, "ring");
  const PlanRequest request{.collective = row.collective, .n_ranks = 5, .hosts = layout("3x2")};
  EXPECT_THROW(verified_plan(row, request), Error);
}

}  // namespace
}  // namespace tutti::planner
