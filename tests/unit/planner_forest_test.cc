// Bounds of described topologies, exactly, and forests that reach them.
#include <string>
#include <vector>

#include <gtest/gtest.h>

#include "src/base/error.h"
#include "src/planner/forest/rings.h"
#include "src/planner/forest/topology_plan.h"
#include "src/verify/certificate.h"
#include "src/verify/verifier.h"
#include "topology/synthetic.h"

namespace tutti::planner {
namespace {

using plan::Collective;

topology::Graph machine(const std::string& line) { return topology::synthetic(line); }

// 1/x* in time per gigabyte at GB/s.
Rational inverse_x(const topology::Graph& graph) {
  const View view = view_of(graph, {});
  const FlowNetwork network = flow_network(view.graph);
  const Bound bound = all_gather_bound(network, view.graph);
  EXPECT_EQ(cut_ratio(network, bound.inside), bound.inverse_rate);
  return Rational::of(bound.inverse_rate.numerator * topology::kMbitPerGigabyte,
                      bound.inverse_rate.denominator * network.unit_mbit_s);
}

struct Reference {
  const char* line;
  Rational inverse_x;
};

TEST(Bound, SyntheticMachines_AreTheReferenceFigures) {
  const Reference table[] = {{"dgx-a100", {7, 300}},      {"dgx-a100 x2", {3, 65}},
                             {"dgx-a100 x4", {3, 25}},    {"dgx-1v", {7, 150}},
                             {"dgx-h100", {7, 450}},      {"dgx-h100 x2", {3, 100}},
                             {"dgx-h100 x128", {127, 50}}};
  for (const Reference& row : table)
    EXPECT_EQ(inverse_x(machine(row.line)), row.inverse_x) << row.line;
}

// With everything that a certificate asks for.
void expect_optimal(const topology::Graph& topology, Collective collective,
                    const std::string& what) {
  const topology::Graph graph = view_of(topology, {}).graph;
  const FlowNetwork network = flow_network(graph);
  const TopologyBound bound = topology_bound(graph, network, collective);
  const Candidate forest = forest_candidate(graph, network, collective, 1, {});
  const verify::CertificateVerdict verdict =
      verify::check_certificate({.graph = graph,
                                 .plan = forest.placed.plan,
                                 .placement = forest.placed.placement,
                                 .parts = bound.parts});
  ASSERT_TRUE(verdict.accepted) << what << ": " << verdict.reason;
  const auto in_mbit = [&](const Rational& time) {
    return Rational::of(time.numerator, time.denominator * network.unit_mbit_s);
  };
  EXPECT_EQ(verdict.bound, in_mbit(bound.time)) << what;
  EXPECT_EQ(verdict.plan, in_mbit(forest.time)) << what;
  EXPECT_EQ(forest.time, bound.forest_time) << what;
  EXPECT_LE(forest.placed.plan.channels, 32) << what;
  for (const plan::RankProgram& rank : forest.placed.plan.ranks)
    EXPECT_LE(rank.lanes.size(), 64u) << what;
}

TEST(Forest, SyntheticMachines_ReachTheBoundExactlyAndAreVerified) {
  for (const char* line : {"dgx-1v", "dgx-a100", "dgx-a100 x2", "dgx-h100 x2"})
    for (const Collective collective :
         {Collective::kAllGather, Collective::kReduceScatter, Collective::kAllReduce})
      expect_optimal(machine(line), collective, std::string(line) + " " + plan::name(collective));
}

// Gigabytes per second that all data moves at, where capacities are in GB/s.
double algbw(const FlowNetwork& network, const Rational& time) {
  return network.n_terminals / time.value() * static_cast<double>(network.unit_mbit_s) /
         topology::kMbitPerGigabyte;
}

TEST(Rings, SyntheticMachines_AreAsFastAsRingsCanBe) {
  const struct {
    const char* line;
    double ring_gb_s;
  } table[] = {{"dgx-a100 x2", 213.333}, {"dgx-1v", 171.429}, {"dgx-a100", 342.857}};
  for (const auto& row : table) {
    const View view = view_of(machine(row.line), {});
    const FlowNetwork network = flow_network(view.graph);
    const auto forest = ring_forest(network, 32);
    ASSERT_TRUE(forest.has_value()) << row.line;
    EXPECT_NEAR(algbw(network, forest->inverse_rate), row.ring_gb_s, 1e-3) << row.line;
  }
}

TEST(DoubleTree, SyntheticMachines_MakeVerifiedAllReduces) {
  for (const char* line : {"dgx-1v", "dgx-a100", "dgx-a100 x2", "dgx-h100 x4"}) {
    const View view = view_of(machine(line), {});
    const FlowNetwork network = flow_network(view.graph);
    const auto forest = double_tree_forest(network, view.graph);
    ASSERT_EQ(forest.has_value(), std::string(line) != "dgx-1v")
        << line << ": GPUs of a cube mesh are not all neighbours";
    if (!forest) continue;
    const PlacedPlan placed = forest_plan("tree", Collective::kAllReduce,
                                          {.gather = &*forest, .scatter = &*forest}, network, {});
    const verify::Verdict verdict = verify::verify(placed.plan);
    EXPECT_TRUE(verdict.accepted) << line << ": " << verdict.reason;
  }
}

}  // namespace
}  // namespace tutti::planner
