// SPDX-License-Identifier: Apache-2.0
// Plans for the links between the GPUs of a communicator, on described machines.
#include <algorithm>
#include <string>
#include <vector>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "src/base/error.h"
#include "src/comm/device_plans.h"
#include "src/comm/selection.h"
#include "topology/formats/native_json.h"
#include "topology/synthetic.h"

namespace tutti::comm {
namespace {

using plan::Collective;
using ::testing::HasSubstr;

// A synthetic machine whose GPUs have PCI addresses.
struct Machine {
  explicit Machine(const char* line) {
    topology::Report report{topology::synthetic(line), {}};
    int number = 0;
    for (topology::Node& node : report.graph.nodes) {
      if (node.kind != topology::NodeKind::kGpu) continue;
      node.attributes.pci_address = "0000:" + std::to_string(10 + number++) + ":00.0";
      gpus.push_back(node.attributes.pci_address);
    }
    text = topology::write_native_json(report);
  }
  std::vector<std::string> gpus;
  std::string text;
};

class OnMachine : public ::testing::TestWithParam<const char*> {};

TEST_P(OnMachine, EveryForestCollective_HasAPlanOfAllRanks) {
  const Machine machine(GetParam());
  DevicePlans plans(machine.text, machine.gpus);
  for (const Collective collective :
       {Collective::kAllReduce, Collective::kAllGather, Collective::kReduceScatter}) {
    const auto plan = plans.plan(collective);
    ASSERT_NE(plan, nullptr) << plan::name(collective);
    EXPECT_TRUE(plan->verdict.accepted) << plan->verdict.reason;
    EXPECT_EQ(plan->plan.algorithm, "forest");
    EXPECT_EQ(plan->plan.shape.n_ranks, static_cast<int32_t>(machine.gpus.size()));
    EXPECT_EQ(plans.plan(collective), plan) << "made once";
    EXPECT_EQ(DevicePlans(machine.text, machine.gpus).plan(collective)->hash, plan->hash)
        << "every rank makes the same";
  }
}
INSTANTIATE_TEST_SUITE_P(Machines, OnMachine, ::testing::Values("dgx-h100", "dgx-1v", "dgx-a100"));

TEST(DevicePlansTest, RanksInAnotherOrder_SendOverTheirOwnLinks) {
  const Machine machine("dgx-1v");
  std::vector<std::string> turned = machine.gpus;
  std::ranges::reverse(turned);
  const auto straight = DevicePlans(machine.text, machine.gpus).plan(Collective::kAllGather);
  const auto reversed = DevicePlans(machine.text, turned).plan(Collective::kAllGather);
  ASSERT_TRUE(straight != nullptr && reversed != nullptr);
  const auto peers = [](const plan::RankProgram& program) {
    std::vector<int32_t> found;
    for (const plan::Lane& lane : program.lanes) {
      for (const plan::Step& step : lane.steps) {
        for (const plan::Operand& sink : step.sinks) {
          if (sink.kind == plan::Operand::Kind::kPeer) found.push_back(sink.index);
        }
      }
    }
    std::ranges::sort(found);
    return found;
  };
  const int32_t last = straight->plan.shape.n_ranks - 1;
  std::vector<int32_t> wanted = peers(straight->plan.ranks.front());
  for (int32_t& peer : wanted) peer = last - peer;
  std::ranges::sort(wanted);
  EXPECT_EQ(peers(reversed->plan.ranks.back()), wanted);
}

TEST(DevicePlansTest, SomeOfTheGpus_ArePlannedFor) {
  const Machine machine("dgx-1v");
  const std::vector<std::string> some = {machine.gpus[3], machine.gpus[0], machine.gpus[2]};
  const auto plan = DevicePlans(machine.text, some).plan(Collective::kAllReduce);
  ASSERT_NE(plan, nullptr);
  EXPECT_EQ(plan->plan.shape.n_ranks, 3);
}

TEST(DevicePlansTest, GpusWithoutAWay_HaveNone) {
  const Machine machine("dgx-1v");
  const std::vector<std::string> apart = {machine.gpus[5], machine.gpus[0], machine.gpus[2]};
  EXPECT_EQ(DevicePlans(machine.text, apart).plan(Collective::kAllReduce), nullptr);
}

TEST(DevicePlansTest, CollectivesWithoutForests_HaveNone) {
  const Machine machine("dgx-h100");
  DevicePlans plans(machine.text, machine.gpus);
  EXPECT_EQ(plans.plan(Collective::kBroadcast), nullptr);
  EXPECT_EQ(plans.plan(Collective::kAllToAll), nullptr);
}

std::string refusal(const std::string& text, const std::vector<std::string>& gpus) {
  try {
    const DevicePlans plans(text, gpus);
  } catch (const Error& error) {
    EXPECT_EQ(error.code(), StatusCode::kInvalidArgument);
    return error.what();
  }
  return "";
}

TEST(DevicePlansTest, GpusThatAreNotThere_AreRefused) {
  const Machine machine("dgx-h100");
  EXPECT_THAT(refusal(machine.text, {"0000:99:00.0", machine.gpus[0]}),
              HasSubstr("0000:99:00.0 is not among the 8 GPUs"));
  EXPECT_THAT(refusal(machine.text, {machine.gpus[1], machine.gpus[1]}), HasSubstr("twice"));
  EXPECT_THAT(refusal("{", machine.gpus), HasSubstr("rank 0's machine"));
}

TEST(DevicePlansTest, Selection_TakesThemForLargeCallsAlone) {
  const Machine machine("dgx-h100");
  Tuning tuning = resolve({});
  tuning.machine = std::make_shared<DevicePlans>(machine.text, machine.gpus);
  const auto select_for = [&](size_t bytes) {
    return select({.collective = Collective::kAllReduce, .n_ranks = 8, .block_bytes = bytes},
                  tuning);
  };
  EXPECT_EQ(select_for(64 << 10).plan, nullptr);
  ASSERT_NE(select_for(64 << 20).plan, nullptr);
  EXPECT_EQ(select_for(64 << 20).plan->plan.algorithm, "forest");
  tuning.algorithm = "ring";
  EXPECT_EQ(select_for(64 << 20).plan, nullptr) << "the user's choice";
  tuning.algorithm.clear();
  tuning.deterministic = true;
  EXPECT_EQ(select_for(64 << 20).plan, nullptr) << "forests fold in the order of their trees";
}

}  // namespace
}  // namespace tutti::comm
