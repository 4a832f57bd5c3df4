// SPDX-License-Identifier: Apache-2.0
// Tuner plugins: what is asked, what all ranks are told, and what a choice makes of it.
#include <gtest/gtest.h>

#include "src/base/error.h"
#include "src/comm/advice.h"
#include "src/comm/selection.h"

namespace tutti::comm {
namespace {

using plan::Collective;

std::string file_of(const std::string& plugin) {
  return std::string(TUTTI_TEST_PLUGINS) + "/libnccl-tuner-" + plugin + ".so";
}
Advice ask(const std::string& plugin, int n_ranks = 4) {
  const planner::CostInput cost{.n_ranks = n_ranks, .cores = 4};
  return ask_tuner({.plugin = plugin, .comm_id = 7, .n_ranks = n_ranks, .n_hosts = 2}, cost);
}
std::string refusal(const std::string& plugin) {
  try {
    ask(plugin);
  } catch (const Error& error) {
    EXPECT_EQ(error.code(), StatusCode::kInvalidArgument);
    return error.what();
  }
  return "accepted";
}
std::string chosen(const Selection& selection, const Tuning& tuning) {
  return select(selection, tuning).row->name;
}

class Tuner : public testing::TestWithParam<int> {
 protected:
  std::string file() const { return file_of("test" + std::to_string(GetParam())); }
};
INSTANTIATE_TEST_SUITE_P(Version, Tuner, testing::Range(2, 7));

TEST_P(Tuner, Answers_AreFoundToTheByte) {
  const Advice advice = ask(file());
  EXPECT_NE(advice.tuner.find("TestTuner"), std::string::npos);
  EXPECT_NE(advice.tuner.find("interface " + std::to_string(GetParam())), std::string::npos);
  EXPECT_EQ(advice.algorithm_for(Collective::kAllReduce, 1), "tree");
  EXPECT_EQ(advice.algorithm_for(Collective::kAllReduce, 9999), "tree");
  EXPECT_EQ(advice.algorithm_for(Collective::kAllReduce, 10000), "ring");
  EXPECT_EQ(advice.algorithm_for(Collective::kAllReduce, uint64_t{1} << 45), "ring");
  EXPECT_EQ(advice.algorithm_for(Collective::kAllGather, 0), "ring");
}

TEST_P(Tuner, WhatWeDontHave_AndNoOpinion_AreNoAdvice) {
  const Advice advice = ask(file());
  EXPECT_EQ(advice.algorithm_for(Collective::kReduceScatter, 1 << 20), "");
  EXPECT_EQ(advice.algorithm_for(Collective::kBroadcast, 1 << 20), "");
  EXPECT_EQ(advice.algorithm_for(Collective::kAllToAll, 1 << 20), "");
}

TEST_P(Tuner, Advice_IsTheSameAfterItsWayToTheOtherRanks) {
  const Advice advice = ask(file());
  const Advice there = decode_advice(encode(advice));
  EXPECT_EQ(there.tuner, advice.tuner);
  EXPECT_EQ(there.ranges, advice.ranges);
}

TEST_P(Tuner, Choice_FollowsTheAdvice_UnlessTheUserOrTheCallForbidsIt) {
  Tuning tuning;
  Selection small{
      .collective = Collective::kAllReduce, .n_ranks = 4, .cores = 4, .block_bytes = 5000};
  Selection large = small;
  large.block_bytes = 4 << 20;
  const std::string own_small = chosen(small, tuning);
  ASSERT_NE(own_small, "tree") << "the library's own choice would hide the advice";
  tuning.advice = std::make_shared<const Advice>(ask(file()));
  EXPECT_EQ(chosen(small, tuning), "tree");
  EXPECT_EQ(chosen(large, tuning), "ring");
  tuning.algorithm = "one_shot";
  EXPECT_EQ(chosen(small, tuning), "one_shot");
  tuning.algorithm.clear();
  tuning.deterministic = true;  // the ring does not fold in rank order
  EXPECT_NE(chosen(large, tuning), "ring");
  tuning.deterministic = false;
  Selection uneven{
      .collective = Collective::kAllGather, .n_ranks = 4, .cores = 4, .block_bytes = 1 << 20};
  EXPECT_EQ(chosen(uneven, tuning), "ring") << "four blocks of 1 MiB";
}

TEST(TunerPlugin, ThatCantBeUsed_IsRefusedWithItsReason) {
  EXPECT_NE(refusal("there_is_none").find("libnccl-tuner-there_is_none.so"), std::string::npos);
  EXPECT_NE(refusal("libm.so.6").find("exports none of ncclTunerPlugin_v2"), std::string::npos);
  EXPECT_NE(refusal(file_of("sick")).find("does not start: init gives error 3"), std::string::npos);
}

TEST(TunerPlugin, NoPlugin_LeavesTheChoiceToTheLibrary) {
  EXPECT_EQ(Advice{}.algorithm_for(Collective::kAllReduce, 100), "");
}

TEST(CountedBytes, OfEachCollective_AreNcclsSizes) {
  EXPECT_EQ(counted_bytes(Collective::kAllReduce, 100, 4), 100u);
  EXPECT_EQ(counted_bytes(Collective::kBroadcast, 100, 4), 100u);
  EXPECT_EQ(counted_bytes(Collective::kAllGather, 100, 4), 400u);
  EXPECT_EQ(counted_bytes(Collective::kReduceScatter, 100, 4), 400u);
}

}  // namespace
}  // namespace tutti::comm
