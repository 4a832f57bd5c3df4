// Clusters, planned level by level.
#include <string>

#include <gtest/gtest.h>

#include "src/planner/forest/topology_plan.h"
#include "src/planner/hierarchy/hierarchy.h"
#include "src/verify/certificate.h"
#include "topology/synthetic.h"

namespace tutti::planner {
namespace {

using plan::Collective;

struct Planned {
  topology::Graph graph;
  FlowNetwork network;
  verify::Hierarchy hierarchy;
};
Planned plan_cluster(const std::string& line) {
  Planned planned;
  planned.graph = view_of(topology::synthetic(line), {}).graph;
  planned.network = flow_network(planned.graph);
  auto hierarchy = hierarchy_for(planned.graph, planned.network);
  EXPECT_TRUE(hierarchy.has_value()) << line;
  if (hierarchy) planned.hierarchy = std::move(*hierarchy);
  return planned;
}

verify::HierarchyVerdict judge(const Planned& planned, Collective collective) {
  const TopologyBound bound = topology_bound(planned.graph, planned.network, collective);
  return verify::check_hierarchy({.collective = collective,
                                  .graph = planned.graph,
                                  .hierarchy = planned.hierarchy,
                                  .parts = bound.parts});
}

TEST(Hierarchy, Clusters_AreProvedAndNearTheirBound) {
  const struct {
    const char* line;
    double least;  // plan / bound
  } table[] = {
      {"dgx-a100 x2", 0.98}, {"dgx-a100 x4", 1},
      {"dgx-h100 x16", 1},   {"dgx-h100 x128", 1},
      {"mi250 x4", 0.9},     {"dgx-a100 x8 fabric=fat-tree leaf=16 oversubscription=2", 1}};
  for (const auto& row : table) {
    const Planned planned = plan_cluster(row.line);
    for (const Collective collective : {Collective::kAllGather, Collective::kReduceScatter}) {
      const verify::HierarchyVerdict verdict = judge(planned, collective);
      EXPECT_TRUE(verdict.accepted) << row.line << ": " << verdict.reason;
      EXPECT_GE(verdict.plan_over_bound, row.least) << row.line << " " << plan::name(collective);
    }
  }
}

TEST(Hierarchy, AsAForest_LoadsLinksAlikeAndIsVerified) {
  for (const char* line : {"dgx-a100 x2", "mi250 x2"}) {
    const Planned planned = plan_cluster(line);
    const Forest forest = forest_of(planned.hierarchy, planned.network);
    for (const Collective collective :
         {Collective::kAllGather, Collective::kReduceScatter, Collective::kAllReduce}) {
      const PlacedPlan placed = forest_plan(
          "hierarchy", collective, {.gather = &forest, .scatter = &forest}, planned.network, {});
      const TopologyBound bound = topology_bound(planned.graph, planned.network, collective);
      const verify::CertificateVerdict whole =
          verify::check_certificate({.graph = planned.graph,
                                     .plan = placed.plan,
                                     .placement = placed.placement,
                                     .parts = bound.parts});
      ASSERT_TRUE(whole.accepted) << line << ": " << whole.reason;
      const verify::HierarchyVerdict levels = judge(planned, collective);
      ASSERT_TRUE(levels.accepted) << line << ": " << levels.reason;
      EXPECT_EQ(whole.plan, levels.plan) << line << " " << plan::name(collective);
    }
  }
}

TEST(HierarchyCertificate, TamperedWith_IsRefusedWithTheReason) {
  const Planned good = plan_cluster("dgx-a100 x4");
  const auto reason = [&](auto tamper) {
    Planned bad = good;
    tamper(bad.hierarchy);
    const verify::HierarchyVerdict verdict = judge(bad, Collective::kAllGather);
    EXPECT_FALSE(verdict.accepted);
    return verdict.reason;
  };
  EXPECT_NE(reason([](auto& h) { h.levels.pop_back(); }).find("ends with the data of"),
            std::string::npos);
  EXPECT_NE(reason([](auto& h) { h.levels.push_back(h.levels.front()); }).find("the same data"),
            std::string::npos);
  EXPECT_NE(reason([](auto& h) { h.levels[0].trees[0].edges.pop_back(); }).find("does not reach"),
            std::string::npos);
  EXPECT_NE(reason([](auto& h) { h.levels[0].trees.pop_back(); }).find("as many trees"),
            std::string::npos);
  EXPECT_NE(reason([](auto& h) { h.levels[0].hops[0][0].pop_back(); }).find("ends at"),
            std::string::npos);
  EXPECT_NE(reason([](auto& h) {
              std::swap(h.levels[0].groups[0], h.levels[0].groups[1]);
            }).find("leaves it at link"),
            std::string::npos);
  EXPECT_NE(reason([](auto& h) {
              h.levels[1].groups[0][0] = h.levels[1].groups[1][0];
            }).find("two groups"),
            std::string::npos);
}

}  // namespace
}  // namespace tutti::planner
