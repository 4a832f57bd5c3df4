// Bounds of described topologies, exactly, and forests that reach them.
#include <algorithm>
#include <string>
#include <vector>

#include <gtest/gtest.h>

#include "src/base/error.h"
#include "src/planner/forest/topology_plan.h"
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

// Of all links: chunks over capacity, per chunk of a terminal's data.
Rational slowest_link(const TopologyPlan& planned, const topology::Graph& graph) {
  const auto loads = verify::link_loads(planned.placed.plan, planned.placed.placement, graph);
  const plan::Shape& shape = planned.placed.plan.shape;
  const int64_t chunks = shape.collective == Collective::kAllReduce
                             ? shape.chunks_per_block / shape.n_ranks
                             : shape.chunks_per_block;
  Rational slowest;
  for (size_t i = 0; i < loads.size(); ++i) {
    const topology::Link& link = graph.links[i];
    if (loads[i].forward_chunks > 0)
      slowest =
          std::max(slowest, Rational::of(loads[i].forward_chunks * planned.network.unit_mbit_s,
                                         chunks * link.forward_mbit_s));
    if (loads[i].reverse_chunks > 0)
      slowest =
          std::max(slowest, Rational::of(loads[i].reverse_chunks * planned.network.unit_mbit_s,
                                         chunks * link.reverse_mbit_s));
  }
  return slowest;
}

void expect_optimal(const topology::Graph& topology, Collective collective,
                    const std::string& what) {
  const topology::Graph graph = view_of(topology, {}).graph;
  const TopologyPlan planned = plan_for(graph, {.collective = collective});
  const verify::Verdict verdict = verify::verify(planned.placed.plan);
  ASSERT_TRUE(verdict.accepted) << what << ": " << verdict.reason;
  const int64_t phases = collective == Collective::kAllReduce ? 2 : 1;
  const Rational& bound = planned.bound.inverse_rate;
  EXPECT_EQ(slowest_link(planned, graph), Rational::of(phases * bound.numerator, bound.denominator))
      << what;
  EXPECT_LE(planned.placed.plan.channels, 32) << what;
  for (const plan::RankProgram& rank : planned.placed.plan.ranks)
    EXPECT_LE(rank.lanes.size(), 64u) << what;
}

TEST(Forest, SyntheticMachines_ReachTheBoundExactlyAndAreVerified) {
  for (const char* line : {"dgx-1v", "dgx-a100", "dgx-a100 x2", "dgx-h100 x2"})
    for (const Collective collective :
         {Collective::kAllGather, Collective::kReduceScatter, Collective::kAllReduce})
      expect_optimal(machine(line), collective, std::string(line) + " " + plan::name(collective));
}

}  // namespace
}  // namespace tutti::planner
