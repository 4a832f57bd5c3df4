// AllToAll on described topologies: bounds against figures worked out by hand, plans that come up
// to them, and certificates that are believed only as far as they are right.
#include <algorithm>
#include <string>
#include <string_view>
#include <vector>

#include <gtest/gtest.h>

#include "src/base/error.h"
#include "src/planner/alltoall/alltoall_plan.h"
#include "src/planner/alltoall/bound.h"
#include "src/planner/forest/topology_plan.h"
#include "src/verify/certificate.h"
#include "src/verify/verifier.h"
#include "topology/change.h"
#include "topology/synthetic.h"

namespace tutti::planner {
namespace {

using plan::Collective;

struct Case {
  explicit Case(const topology::Graph& topology)
      : graph(view_of(topology, {}).graph),
        network(flow_network(graph)),
        bound(topology_bound(graph, network, Collective::kAllToAll)),
        candidates(all_candidates(graph, network, Collective::kAllToAll, {}, &bound)) {}
  explicit Case(const char* line) : Case(topology::synthetic(line)) {}

  // A fraction of seconds for a gigabyte per ordered pair, capacities in GB/s.
  Rational per_pair(const Rational& time) const {
    return Rational::of(time.numerator * topology::kMbitPerGigabyte * network.n_terminals,
                        time.denominator * network.unit_mbit_s);
  }
  const Candidate* find(std::string_view algorithm) const {
    const auto found = std::ranges::find(candidates, algorithm, &Candidate::algorithm);
    return found == candidates.end() ? nullptr : &*found;
  }
  const Candidate& best() const {
    return *std::ranges::min_element(candidates, {}, &Candidate::time);
  }
  verify::Certificate certificate(const Candidate& candidate) const {
    return {.graph = graph,
            .plan = candidate.placed.plan,
            .placement = candidate.placed.placement,
            .parts = {},
            .lengths = bound.lengths};
  }

  topology::Graph graph;
  FlowNetwork network;
  TopologyBound bound;
  std::vector<Candidate> candidates;
};

// Routes may pass switches only: what a GPU passes on is a step of its plan.
bool passes_a_gpu(const Case& c, const Candidate& candidate) {
  for (const verify::Route& route : candidate.placed.placement.routes)
    for (size_t i = 0; i + 1 < route.hops.size(); ++i) {
      const topology::Link& link = c.graph.links[route.hops[i].link];
      const int32_t node = route.hops[i].reverse ? link.from : link.to;
      if (c.graph.nodes[node].kind == topology::NodeKind::kGpu) return true;
    }
  return false;
}

void expect_sound(const Case& c, const std::string& what) {
  EXPECT_LE(c.bound.cut_time, c.bound.time) << what;
  ASSERT_FALSE(c.candidates.empty()) << what;
  for (const Candidate& candidate : c.candidates) {
    const std::string name = what + " " + candidate.algorithm;
    const verify::Verdict verdict = verify::verify(candidate.placed.plan);
    EXPECT_TRUE(verdict.accepted) << name << ": " << verdict.reason;
    EXPECT_FALSE(passes_a_gpu(c, candidate)) << name;
    EXPECT_GE(candidate.time, c.bound.time) << name;
    EXPECT_LE(candidate.placed.plan.channels, PlanBudget{}.channels) << name;
    for (const plan::RankProgram& rank : candidate.placed.plan.ranks)
      EXPECT_LE(rank.lanes.size(), static_cast<size_t>(PlanBudget{}.lanes)) << name;
    const auto judged = verify::check_certificate(c.certificate(candidate));
    ASSERT_TRUE(judged.accepted) << name << ": " << judged.reason;
    EXPECT_EQ(judged.bound, Rational::of(c.bound.time.numerator,
                                         c.bound.time.denominator * c.network.unit_mbit_s))
        << name;
    EXPECT_EQ(judged.plan, Rational::of(candidate.time.numerator,
                                        candidate.time.denominator * c.network.unit_mbit_s))
        << name;
  }
}

struct Expected {
  const char* line;
  Rational per_pair;   // the bound, see Case::per_pair()
  Rational cut;        // of a best cut
  double of_bound;     // that the best plan reaches
  const char* reason;  // how the bound comes about
};

Rational lowest(const Rational& r) { return Rational::of(r.numerator, r.denominator); }

TEST(AllToAllBound, SyntheticMachines_AreAsCountedByHand) {
  const Expected table[] = {
      {"dgx-h100", {7, 450}, {7, 450}, 1, "7 blocks leave a GPU"},
      {"dgx-h100 x4", {24, 50}, {24, 50}, 1, "g (b-1) = 24 blocks leave each NIC"},
      {"dgx-a100 x2 fabric=flat", {8, 25}, {8, 25}, 1, "8 blocks leave each NIC"},
      {"mi300x", {1, 64}, {1, 64}, 1, "each pair has a link"},
      {"mi300x x2", {8, 50}, {8, 50}, 1, "8 blocks leave each NIC"},
      {"dgx-1v", {16, 150}, {16, 150}, 1, "4 times 4 blocks between the halves, over 6 links"},
      {"mi250", {64, 300}, {64, 300}, 1, "8 times 8 blocks between the halves, over 6 links"},
      {"pcie", {16, 16}, {16, 16}, 1, "4 times 4 blocks between the sockets"},
  };
  for (const Expected& row : table) {
    const Case c(row.line);
    EXPECT_EQ(c.per_pair(c.bound.time), lowest(row.per_pair)) << row.line << ": " << row.reason;
    EXPECT_EQ(c.per_pair(c.bound.cut_time), lowest(row.cut)) << row.line;
    EXPECT_TRUE(c.bound.optimal) << row.line;
    EXPECT_GE(c.bound.time.value() / c.best().time.value(), row.of_bound - 1e-9) << row.line;
    expect_sound(c, row.line);
  }
}

// K(2,3), GPUs 3 and 4 its smaller side, where cuts allow more than flows reach (Okamura and
// Seymour, Multicommodity flows in planar graphs, JCTB 31(1), 1981).
TEST(AllToAllBound, NetworkWithoutATightCut_NeedsLengths) {
  topology::Graph graph;
  topology::add_node(graph, "box", topology::NodeKind::kMachine, -1);
  for (int gpu = 0; gpu < 5; ++gpu)
    topology::add_node(graph, "gpu" + std::to_string(gpu), topology::NodeKind::kGpu, 0);
  for (int32_t a = 1; a <= 3; ++a)
    for (int32_t b = 4; b <= 5; ++b)
      topology::add_link(graph, a, b, topology::LinkType::kXgmi, topology::kMbitPerGigabyte);
  const Case c(graph);
  // Lengths 1 everywhere: 12 ordered pairs at distance 1, 8 at distance 2, over 12 directed links.
  EXPECT_EQ(c.per_pair(c.bound.time), Rational::of(28, 12));
  // One of the three alone, or with one of the two: 4 blocks over 2 links; 6 over 3.
  EXPECT_EQ(c.per_pair(c.bound.cut_time), Rational::of(2, 1));
  EXPECT_TRUE(c.bound.optimal);
  EXPECT_GE(c.bound.time.value() / c.best().time.value(), 0.95);
  expect_sound(c, "K(2,3)");
}

TEST(AllToAllPlan, RailsWithoutSpine_RelayOnTheRailOfTheSink) {
  constexpr int32_t kGpus = 8;
  constexpr int32_t kBoxes = 3;
  const Case c("dgx-h100 x3");
  EXPECT_EQ(c.find("direct"), nullptr) << "rails do not meet";
  const Candidate* const relayed = c.find("relayed");
  ASSERT_NE(relayed, nullptr);
  EXPECT_EQ(relayed->time, c.bound.time);
  for (const verify::Route& route : relayed->placed.placement.routes) {
    const bool leaves = route.source_rank / kGpus != route.sink_rank / kGpus;
    if (leaves) {
      EXPECT_EQ(route.source_rank % kGpus, route.sink_rank % kGpus) << "off its rail";
    }
  }
  const auto loads = verify::link_loads(relayed->placed.plan, relayed->placed.placement, c.graph);
  int nics = 0;
  for (size_t i = 0; i < loads.size(); ++i) {
    if (c.graph.links[i].type != topology::LinkType::kNetwork) continue;
    ++nics;
    EXPECT_EQ(loads[i].forward_chunks, kGpus * (kBoxes - 1));
    EXPECT_EQ(loads[i].reverse_chunks, kGpus * (kBoxes - 1));
  }
  EXPECT_EQ(nics, kGpus * kBoxes);
}

TEST(AllToAllPlan, RelayToOneSink_SendsAllOverOneConnection) {
  const Case c("dgx-h100 x3");
  const Candidate* const relayed = c.find("relayed");
  ASSERT_NE(relayed, nullptr);
  int64_t network_connections = 0;
  for (const verify::Route& route : relayed->placed.placement.routes)
    network_connections += route.source_rank / 8 != route.sink_rank / 8 ? 1 : 0;
  EXPECT_EQ(network_connections, 24 * 2) << "each GPU has one to its like in each other box";
}

// Of what a NIC sends, (g-1)/g is for other rails: directly that crosses the spine.
TEST(AllToAllPlan, OversubscribedSpine_RelayingWinsAboveGOverGMinusOne) {
  const struct {
    const char* line;
    Rational direct_over_bound;
  } table[] = {
      {"dgx-h100 x4 fabric=rail-spine", {1, 1}},
      {"dgx-h100 x4 fabric=rail-spine oversubscription=2", {7, 4}},
      {"dgx-h100 x4 fabric=rail-spine oversubscription=4", {7, 2}},
  };
  for (const auto& row : table) {
    const Case c(row.line);
    const Candidate* const direct = c.find("direct");
    const Candidate* const relayed = c.find("relayed");
    ASSERT_NE(direct, nullptr) << row.line;
    ASSERT_NE(relayed, nullptr) << row.line;
    EXPECT_EQ(relayed->time, c.bound.time) << row.line;
    EXPECT_EQ(c.per_pair(c.bound.time), Rational::of(24, 50)) << row.line;
    EXPECT_EQ(Rational::of(direct->time.numerator * c.bound.time.denominator,
                           direct->time.denominator * c.bound.time.numerator),
              row.direct_over_bound)
        << row.line;
    expect_sound(c, row.line);
  }
}

TEST(AllToAllPlan, DegradedMachines_AreVerifiedAndNearTheBound) {
  const struct {
    const char* line;
    const char* changes;
  } table[] = {
      {"dgx-h100 x2", "down box0/nic3"},
      {"dgx-1v", "slow gpu0 gpu4=25"},
      {"mi300x", "down gpu0 gpu1"},
      {"mi250", "down gpu0 gpu1"},
  };
  for (const auto& row : table) {
    const Case c(topology::changed(topology::synthetic(row.line), row.changes));
    EXPECT_TRUE(c.bound.optimal) << row.line;
    EXPECT_GE(c.bound.time.value() / c.best().time.value(), 0.95) << row.line;
    expect_sound(c, row.line);
  }
}

TEST(AllToAllBound, TooManyVariables_FallsBackToACutAndSaysSo) {
  const topology::Graph graph = view_of(topology::synthetic("dgx-1v"), {}).graph;
  const FlowNetwork network = flow_network(graph);
  const AllToAllBound exact = all_to_all_bound(network, graph);
  const AllToAllBound cut = all_to_all_bound(network, graph, {.most_variables = 1});
  EXPECT_TRUE(exact.optimal);
  EXPECT_FALSE(cut.optimal);
  EXPECT_GE(cut.inverse_rate, cut.cut);
  EXPECT_LE(cut.inverse_rate, exact.inverse_rate);
  EXPECT_EQ(cut.inverse_rate, length_ratio(network, cut.lengths));
  EXPECT_EQ(cut.cut, separation_ratio(network, cut.inside));
}

TEST(AllToAllBound, ManyBoxes_TakeNoTime) {
  const topology::Graph graph = view_of(topology::synthetic("dgx-h100 x128"), {}).graph;
  const FlowNetwork network = flow_network(graph);
  const AllToAllBound bound = all_to_all_bound(network, graph);
  // 8 times 127 blocks of a 1024th of a unit.
  EXPECT_EQ(Rational::of(bound.inverse_rate.numerator * topology::kMbitPerGigabyte,
                         bound.inverse_rate.denominator * network.unit_mbit_s),
            Rational::of(1016, 51200));
  EXPECT_FALSE(bound.optimal) << "classes are taken for granted there";
  EXPECT_THROW(all_candidates(graph, network, Collective::kAllToAll, {}), Error);
}

// ---- certificates ----

struct Tampering {
  const char* what;
  void (*change)(verify::Certificate& certificate);
  const char* reason;  // in the verdict; "": still accepted, with a lesser bound
};

TEST(AllToAllCertificate, Tampered_IsRefusedOrProvesLess) {
  const Case c("dgx-1v");
  const verify::Certificate good = c.certificate(c.best());
  const verify::CertificateVerdict verdict = verify::check_certificate(good);
  ASSERT_TRUE(verdict.accepted) << verdict.reason;
  EXPECT_EQ(verdict.plan_over_bound, 1);
  const Tampering table[] = {
      {"no lengths", [](auto& t) { t.lengths.clear(); }, "expected one for each of"},
      {"one too few", [](auto& t) { t.lengths.pop_back(); }, "expected one for each of"},
      {"negative", [](auto& t) { t.lengths[0][1] = -1; }, "link 0: expected 0 to"},
      {"huge", [](auto& t) { t.lengths[0][1] = INT64_MAX; }, "link 0: expected 0 to"},
      {"all zero",
       [](auto& t) {
         for (auto& l : t.lengths) l = {0, 0};
       },
       "no link that is up"},
      {"parts beside", [](auto& t) { t.parts = {{1}}; }, "parts: expected none"},
      {"all one",
       [](auto& t) {
         for (auto& l : t.lengths) l = {1, 1};
       },
       ""},
      {"one longer", [](auto& t) { t.lengths[0][0] += 5; }, ""},
      {"a link with less capacity", [](auto& t) { t.graph.links[0].forward_mbit_s /= 2; }, ""},
      {"a link down that is used", [](auto& t) { t.graph.links[0].forward_mbit_s = 0; }, "down"},
      {"a faster route made up", [](auto& t) { t.placement.routes[0].hops.clear(); },
       "expected a way to"},
      {"a step left out", [](auto& t) { t.plan.ranks[0].lanes[0].steps.pop_back(); }, "plan: "},
  };
  for (const Tampering& row : table) {
    verify::Certificate tampered = good;
    row.change(tampered);
    const verify::CertificateVerdict judged = verify::check_certificate(tampered);
    EXPECT_EQ(judged.accepted, *row.reason == '\0') << row.what << ": " << judged.reason;
    EXPECT_NE(judged.reason.find(row.reason), std::string::npos)
        << row.what << ": " << judged.reason;
    if (judged.accepted) {
      EXPECT_LT(judged.plan_over_bound, 1) << row.what;
    }
  }
}

TEST(AllToAllCertificate, Json_IsReadBackAlike) {
  const Case c("dgx-h100 x2");
  const verify::Certificate certificate = c.certificate(*c.find("relayed"));
  const std::string text = verify::to_json(certificate);
  const verify::Certificate read = verify::certificate_from_json(text, "test");
  EXPECT_EQ(read.lengths.size(), certificate.lengths.size());
  const verify::CertificateVerdict verdict = verify::check_certificate(read);
  ASSERT_TRUE(verdict.accepted) << verdict.reason;
  EXPECT_EQ(verdict.bound, verify::check_certificate(certificate).bound);
  EXPECT_EQ(verdict.plan_over_bound, 1);
  std::string broken = text;
  broken.replace(broken.find("\"lengths\": [["), 13, "\"lengths\": [[7,");
  EXPECT_THROW(verify::certificate_from_json(broken, "test"), Error);
}

TEST(AllToAllCertificate, LengthsForAnotherCollective_AreRefused) {
  const topology::Graph graph = view_of(topology::synthetic("dgx-1v"), {}).graph;
  const FlowNetwork network = flow_network(graph);
  const TopologyBound bound = topology_bound(graph, network, Collective::kAllGather);
  const Candidate forest = forest_candidate(graph, network, Collective::kAllGather, 1, {});
  verify::Certificate certificate{.graph = graph,
                                  .plan = forest.placed.plan,
                                  .placement = forest.placed.placement,
                                  .parts = bound.parts};
  EXPECT_TRUE(verify::check_certificate(certificate).accepted);
  certificate.lengths.resize(graph.links.size());
  EXPECT_FALSE(verify::check_certificate(certificate).accepted);
}

}  // namespace
}  // namespace tutti::planner
