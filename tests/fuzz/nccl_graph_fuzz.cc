// SPDX-License-Identifier: Apache-2.0
// NCCL's graph XML on small topologies: every plan that it yields is right.
#include "src/planner/import/nccl_graph.h"
#include "src/verify/verifier.h"
#include "tests/fuzz/fuzz.h"
#include "tests/support/plan_interpreter.h"
#include "topology/synthetic.h"

namespace tutti::fuzz {
namespace {

void check(const planner::PlacedPlan& placed, const topology::Graph& graph) {
  constexpr int64_t kMostSteps = 2000;  // keeps an input short
  verify::check_placement(placed.plan, placed.placement, graph);
  if (plan::size_of(placed.plan).steps > kMostSteps) return;
  const verify::Verdict verdict = verify::verify(placed.plan);
  require(verdict.accepted, "a plan of NCCL's graphs is accepted: " + verdict.reason);
  const std::string fault =
      test::interpret(placed.plan, {.slots = verdict.min_slots, .tiles = 2, .in_place = true});
  require(fault.empty(), "it does its collective: " + fault);
}

}  // namespace

void run(std::string_view input) {
  static const topology::Graph graphs[] = {topology::synthetic("dgx-1v"),
                                           topology::synthetic("pcie x3 gpus=8 nics=2"),
                                           topology::synthetic("pcie gpus=4 nics=1")};
  planner::is_nccl_graph(input);
  for (const topology::Graph& graph : graphs)
    for (const plan::Collective collective :
         {plan::Collective::kAllReduce, plan::Collective::kAllGather,
          plan::Collective::kReduceScatter}) {
      const auto read = accepted(
          [&] { return planner::plans_from_nccl_graph(input, "graph", graph, collective); });
      if (!read) continue;
      require(!read->plans.empty(), "there is a plan");
      for (const planner::PlacedPlan& placed : read->plans) check(placed, graph);
    }
}

std::vector<std::string> seeds() {
  const std::string gpus =
      R"(<gpu dev="0"/><gpu dev="1"/><gpu dev="2"/><gpu dev="3"/><gpu dev="7"/><gpu dev="6"/>)"
      R"(<gpu dev="5"/><gpu dev="4"/>)";
  const std::string channel = R"(<channel><net dev="0"/>)" + gpus + R"(<net dev="1"/></channel>)";
  const auto graph = [&](const char* id, const char* pattern, const char* channels,
                         const std::string& inside) {
    return std::string("<graph id=\"") + id + "\" pattern=\"" + pattern +
           "\" crossnic=\"2\" nchannels=\"" + channels + "\">" + inside + "</graph>";
  };
  const std::string ranks =
      R"(<channel><gpu dev="0" rank="3"/><gpu dev="1" rank="2"/><gpu dev="0" rank="0"/>)"
      R"(<gpu dev="1" rank="1"/></channel>)";
  return {"<graphs version=\"1\">" + graph("0", "4", "2", channel + channel) +
              graph("1", "1", "1", channel) + graph("3", "5", "0", "") + "</graphs>",
          "<?xml version=\"1.0\"?><graphs>" + graph("1", "2", "1", channel) + "</graphs>",
          "<graphs>" + graph("0", "4", "1", ranks) + "</graphs>"};
}

}  // namespace tutti::fuzz
