// Plans by switches that reduce and multicast: what they reach, exactly, and that they are right.
#include <algorithm>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "src/planner/forest/switch_plan.h"
#include "src/planner/forest/topology_plan.h"
#include "src/verify/certificate.h"
#include "src/verify/simulator.h"
#include "src/verify/switch_tree.h"
#include "src/verify/verifier.h"
#include "tests/support/plan_interpreter.h"
#include "topology/synthetic.h"

namespace tutti::planner {
namespace {

using plan::Collective;
using ::testing::ElementsAre;
using ::testing::IsEmpty;
using ::testing::UnorderedElementsAre;

constexpr Collective kCollectives[] = {Collective::kAllGather, Collective::kReduceScatter,
                                       Collective::kAllReduce};

struct Machine {
  explicit Machine(const std::string& line)
      : graph(view_of(topology::synthetic(line), {}).graph), network(flow_network(graph)) {}

  // Per gigabyte of each GPU, at GB/s.
  Rational in_gigabytes(const Rational& time) const {
    return Rational::of(time.numerator * topology::kMbitPerGigabyte,
                        time.denominator * network.unit_mbit_s);
  }
  Rational time(const PlacedPlan& placed) const {
    return in_gigabytes(busiest_link_time(placed, graph, network));
  }
  std::vector<PlacedPlan> plans(Collective collective, const PlanBudget& budget = {}) const {
    return switch_plans(collective, network, graph, budget);
  }
  std::vector<std::string> names(Collective collective) const {
    std::vector<std::string> found;
    for (const PlacedPlan& placed : plans(collective)) found.push_back(placed.plan.algorithm);
    return found;
  }

  topology::Graph graph;
  FlowNetwork network;
};

struct Figure {
  const char* line;
  const char* algorithm;
  Collective collective;
  Rational inverse_x;
};

TEST(SwitchPlans, Figures_AreExact) {
  using enum Collective;
  const Figure figures[] = {
      // n + 1 units over links of 450 GB/s, against 14 of any forest; the bound is n.
      {"dgx-h100", "switch", kAllReduce, {1, 50}},
      {"dgx-h100", "switch", kReduceScatter, {8, 450}},
      {"dgx-h100", "switch", kAllGather, {8, 450}},
      {"hgx-b200", "switch", kAllReduce, {1, 100}},
      {"gb200-nvl72", "switch", kAllReduce, {73, 900}},
      // NVLink carries 16 + 2 units, a NIC of 50 GB/s 2: both are full, and it is the bound.
      {"dgx-h100 x2", "switch_rails", kAllReduce, {1, 25}},
      {"dgx-h100 x4", "switch_rails", kAllReduce, {3, 25}},
      {"hgx-b200 x2", "switch_rails", kAllReduce, {1, 25}},
      // By the fabric's switches a NIC carries 4 contributions and a copy of its own.
      {"dgx-h100 x4 sharp=1", "switch_fabric", kAllReduce, {1, 10}},
  };
  for (const Figure& figure : figures) {
    SCOPED_TRACE(std::string(figure.line) + " " + plan::name(figure.collective));
    const Machine machine(figure.line);
    const auto plans = machine.plans(figure.collective);
    const auto found = std::ranges::find_if(
        plans, [&](const PlacedPlan& p) { return p.plan.algorithm == figure.algorithm; });
    ASSERT_NE(found, plans.end());
    EXPECT_EQ(machine.time(*found),
              Rational::of(figure.inverse_x.numerator, figure.inverse_x.denominator));
  }
}

TEST(SwitchPlans, WhereThereAreSwitches_AndNowhereElse) {
  const auto all_reduce = [](const char* line) {
    return Machine(line).names(Collective::kAllReduce);
  };
  for (const char* line :
       {"dgx-1v", "dgx-a100", "dgx-a100 x2", "mi300x x2", "pcie gpus=8", "dgx-h100 x32"})
    EXPECT_THAT(all_reduce(line), IsEmpty()) << line;
  EXPECT_THAT(all_reduce("dgx-h100"), ElementsAre("switch"));
  EXPECT_THAT(all_reduce("dgx-h100 x2"), ElementsAre("switch_rails"));
  EXPECT_THAT(all_reduce("dgx-h100 x2 sharp=1"),
              ::testing::IsSupersetOf({"switch_rails", "switch_fabric"}));
  EXPECT_THAT(all_reduce("dgx-a100 x4 sharp=1"), ElementsAre("switch_fabric"));
}

// Everything that is planned, with what a certificate asks for, and run on numbers.
TEST(SwitchPlans, AllOfThem_AreProvedCertifiedAndRight) {
  for (const char* line : {"dgx-h100", "dgx-h100 x2", "dgx-h100 x3 sharp=1", "dgx-a100 x4 sharp=1"})
    for (const Collective collective : kCollectives) {
      const Machine machine(line);
      const auto parts = topology_bound(machine.graph, machine.network, collective).parts;
      for (const PlacedPlan& placed : machine.plans(collective)) {
        SCOPED_TRACE(std::string(line) + " " + plan::name(collective) + " " +
                     placed.plan.algorithm);
        const verify::CertificateVerdict verdict =
            verify::check_certificate({.graph = machine.graph,
                                       .plan = placed.plan,
                                       .placement = placed.placement,
                                       .parts = parts});
        ASSERT_TRUE(verdict.accepted) << verdict.reason;
        EXPECT_EQ(
            machine.in_gigabytes(Rational::of(verdict.plan.numerator * machine.network.unit_mbit_s,
                                              verdict.plan.denominator)),
            machine.time(placed));
        for (const bool in_place : {false, true})
          EXPECT_EQ(test::interpret(placed.plan,
                                    {.slots = placed.plan.slots, .tiles = 2, .in_place = in_place}),
                    "");
      }
    }
}

TEST(SwitchPlans, Budgets_AreKept) {
  for (const char* line : {"gb200-nvl72", "dgx-h100 x16", "dgx-h100 x16 sharp=1"})
    for (const Collective collective : kCollectives)
      for (const PlacedPlan& placed : Machine(line).plans(collective)) {
        EXPECT_LE(placed.plan.channels, 32) << line;
        for (const plan::RankProgram& rank : placed.plan.ranks) EXPECT_LE(rank.lanes.size(), 64u);
      }
  for (const char* line : {"dgx-h100", "dgx-h100 x4 sharp=1"}) {
    const Machine machine(line);
    for (const PlacedPlan& placed :
         machine.plans(Collective::kAllReduce, {.channels = 5, .lanes = 8})) {
      EXPECT_LE(placed.plan.channels, 5) << line;
      for (const plan::RankProgram& rank : placed.plan.ranks) EXPECT_LE(rank.lanes.size(), 8u);
      EXPECT_TRUE(verify::verify(placed.plan).accepted);
      EXPECT_GT(verify::simulate(placed.plan, placed.placement, machine.graph, 1 << 20).time_ns, 0);
    }
  }
}

// Up to the switch and down, twice, whatever the number of GPUs.
TEST(SwitchPlans, SmallMessages_TakeFourHops) {
  constexpr double kNvLinkNs = 600;  // SimulationParameters' default
  for (const char* line : {"dgx-h100", "hgx-b200", "gb200-nvl72"}) {
    const Machine machine(line);
    const PlacedPlan placed = machine.plans(Collective::kAllReduce).front();
    const double ns = verify::simulate(placed.plan, placed.placement, machine.graph, 72).time_ns;
    EXPECT_NEAR(ns, 4 * kNvLinkNs, 5) << line;
  }
}

// Of large messages, in tiles.
TEST(SwitchPlans, LargeMessages_ComeNearTheirLinks) {
  for (const char* line : {"dgx-h100", "dgx-h100 x2"}) {
    const Machine machine(line);
    const PlacedPlan placed = machine.plans(Collective::kAllReduce).front();
    constexpr uint64_t kBytes = uint64_t{1} << 30;
    const auto n = static_cast<uint64_t>(machine.network.n_terminals);
    const double ns = verify::simulate(placed.plan, placed.placement, machine.graph, kBytes,
                                       {.slot_bytes = kBytes / n / 64})
                          .time_ns;
    const double limit = static_cast<double>(kBytes) / n * machine.time(placed).value();
    EXPECT_GE(ns, limit) << line;
    EXPECT_LE(ns, 1.12 * limit) << line;
  }
}

TEST(SwitchPlans, Candidates_OnlyGrow) {
  for (const char* line : {"dgx-h100", "dgx-a100"}) {
    const Machine machine(line);
    for (const Collective collective : kCollectives) {
      const auto all = all_candidates(machine.graph, machine.network, collective, {});
      const auto count = [&](const std::string& name) {
        return std::ranges::count(all, name, &Candidate::algorithm);
      };
      EXPECT_EQ(count("forest"), 1) << line;
      EXPECT_EQ(count("switch"), line == std::string("dgx-h100") ? 1 : 0) << line;
    }
  }
}

}  // namespace
}  // namespace tutti::planner
