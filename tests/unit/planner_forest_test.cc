// Bounds of described topologies, exactly, and forests that reach them.
#include <algorithm>
#include <bit>
#include <string>
#include <vector>

#include <gtest/gtest.h>

#include "src/base/error.h"
#include "src/planner/forest/rings.h"
#include "src/planner/forest/topology_plan.h"
#include "src/verify/certificate.h"
#include "src/verify/verifier.h"
#include "topology/change.h"
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
  // Both phases of an AllReduce run at a time, and where one loads a link one way more than the
  // other way, the second phase makes up for it.
  if (collective == Collective::kAllReduce)
    EXPECT_LE(forest.time, bound.forest_time) << what;
  else
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

// All 3 to 7 GPUs that a cloud may give out of eight, as far as NVLinks join them.
std::vector<topology::Graph> joined_subsets(const topology::Graph& whole) {
  std::vector<topology::Graph> subsets;
  for (uint32_t set = 0; set < 256; ++set) {
    const int gpus = std::popcount(set);
    if (gpus < 3 || gpus > 7) continue;
    std::vector<int32_t> positions;
    for (int32_t gpu = 0; gpu < 8; ++gpu)
      if ((set >> gpu & 1) != 0) positions.push_back(gpu);
    topology::Graph subset = topology::only_gpus(whole, positions);
    try {
      all_gather_bound(flow_network(subset), subset);
    } catch (const Error&) {
      continue;  // two of them have no way to each other
    }
    subsets.push_back(std::move(subset));
  }
  return subsets;
}

TEST(Forest, SubsetsOfACubeMesh_ReachTheBoundWhereMostHaveNoRing) {
  int without_ring = 0;
  double slowest = 1e9;
  double fastest = 0;
  const std::vector<topology::Graph> subsets = joined_subsets(machine("dgx-1v"));
  EXPECT_EQ(subsets.size(), 180u);
  for (size_t i = 0; i < subsets.size(); ++i) {
    const std::string what = "subset " + std::to_string(i);
    for (const Collective collective :
         {Collective::kAllGather, Collective::kReduceScatter, Collective::kAllReduce})
      expect_optimal(subsets[i], collective, what);
    const topology::Graph graph = view_of(subsets[i], {}).graph;
    const FlowNetwork network = flow_network(graph);
    const std::optional<Forest> rings = ring_forest(network, 32);
    const Rational bound = all_gather_bound(network, graph).inverse_rate;
    if (rings) {
      EXPECT_GE(rings->inverse_rate, bound) << what;
      continue;
    }
    ++without_ring;
    slowest = std::min(slowest, algbw(network, bound));
    fastest = std::max(fastest, algbw(network, bound));
  }
  EXPECT_EQ(without_ring, 104);
  EXPECT_NEAR(slowest, 31.25, 0.01);
  EXPECT_NEAR(fastest, 75, 0.01);
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
