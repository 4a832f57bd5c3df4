// Switch channels in the plan: the rules of their steps, and their text forms.
#include <functional>
#include <string>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "src/plan/msccl_xml.h"
#include "src/plan/plan.h"
#include "tests/support/hand_plans.h"
#include "tests/support/refusal.h"

namespace tutti::plan {
namespace {

using ::testing::HasSubstr;
using testing::in;
using testing::lane;
using ::testing::Not;
using testing::refusal;
using testing::scratch;
using testing::switch_all_reduce;
using Kind = SwitchChannel::Kind;

TEST(SwitchChannels, AllOrNone_IsWellFormed) {
  for (const int32_t n : {2, 3, 8}) EXPECT_NO_THROW(check_well_formed(switch_all_reduce(n)));
}

struct Fault {
  const char* what;
  std::function<void(Plan*)> make;
  const char* reason;
};

TEST(SwitchChannels, BrokenRules_AreRefusedByName) {
  const Fault faults[] = {
      {"a step that sinks to one alone",
       [](Plan* p) {
         lane(*p, 1).push_back(testing::step({Operand::peer(0, 1)}, {testing::out(1)}, 1));
       },
       "rank 1 lane 0 step 1: expected sinks to all 2 peers of the switch channel (multicast from "
       "rank 1, channel 1), got 1"},
      {"a step that takes from one alone",
       [](Plan* p) {
         lane(*p, 2).push_back(testing::step({testing::out(2)}, {Operand::peer(1, 0)}, 2));
       },
       "rank 2 lane 0 step 1: expected sources from all 2 peers of the switch channel (reduction "
       "into rank 2, channel 0), got 1"},
      {"two chunks of the own",
       [](Plan* p) {
         p->ranks[0].scratch_chunks = 1;
         lane(*p, 0)[0].sources.push_back(scratch(0));
       },
       "rank 0 lane 0 step 0: expected at most one source beside the switch channel (reduction "
       "into "
       "rank 0, channel 0)"},
      {"a rank too high",
       [](Plan* p) {
         p->switch_channels.push_back({3, 0, Kind::kReduce});
       },
       "expected a rank from 0 to 2"},
      {"a channel too high",
       [](Plan* p) {
         p->switch_channels.push_back({2, 2, Kind::kReduce});
       },
       "expected a channel below 2"},
      {"twice", [](Plan* p) { p->switch_channels.push_back(p->switch_channels.back()); },
       "expected entries in ascending order"},
      {"of two",
       [](Plan* p) {
         p->switch_channels.push_back({2, 1, Kind::kReduce});
       },
       "is of two switch channels"},
      {"no connection",
       [](Plan* p) {
         p->channels = 3;
         p->switch_channels.push_back({2, 2, Kind::kMulticast});
       },
       "no step has a connection of it"},
  };
  for (const Fault& fault : faults) {
    Plan plan = switch_all_reduce(3);
    fault.make(&plan);
    EXPECT_THAT(refusal([&] { check_well_formed(plan); }), HasSubstr(fault.reason)) << fault.what;
  }
}

TEST(SwitchChannels, Json_ComesBackAndIsAbsentWithoutThem) {
  const Plan plan = switch_all_reduce(3);
  const std::string text = to_json(plan);
  EXPECT_EQ(from_json(text), plan);
  EXPECT_THAT(text, HasSubstr("\"switch_channels\": [[\"reduce\",0,0],[\"multicast\",0,1]"));
  Plan without = plan;
  without.switch_channels.clear();
  EXPECT_THAT(to_json(without), Not(HasSubstr("switch")));
  EXPECT_EQ(from_json(to_json(without)), without);
  EXPECT_NE(hash(plan), hash(without));
}

TEST(SwitchChannels, Json_FaultsAreNamedByPath) {
  const std::string text = to_json(switch_all_reduce(2));
  const auto with = [&](const std::string& from, const std::string& to) {
    std::string changed = text;
    changed.replace(changed.find(from), from.size(), to);
    return refusal([&] { from_json(changed); });
  };
  EXPECT_THAT(with("[\"reduce\",0,0]", "[\"reduces\",0,0]"), HasSubstr("/switch_channels/0/0"));
  EXPECT_THAT(with("[\"reduce\",0,0]", "[\"reduce\",0]"), HasSubstr("/switch_channels/0"));
  EXPECT_THAT(with("[\"reduce\",0,0]", "[\"reduce\",-1,0]"), HasSubstr("/switch_channels/0/1"));
}

TEST(SwitchChannels, Text_SaysWhatTheSwitchDoes) {
  const std::string text = to_text(switch_all_reduce(2));
  EXPECT_THAT(text,
              HasSubstr("rank 0 lane 0: 0  output[0], peer 1 channel 1 <- reduce(pre(input[0])"
                        ", peer 1)  post  in the switch: sum, copies\n"));
  EXPECT_THAT(text, HasSubstr("rank 0 lane 2: 0  peer 1 <- pre(input[1])\n"));
}

TEST(SwitchChannels, MscclXml_HasNoSuchThing) {
  EXPECT_THAT(refusal([] { to_msccl_xml(switch_all_reduce(2)); }),
              HasSubstr("sums or copies in a switch (reduction into rank 0, channel 0)"));
}

}  // namespace
}  // namespace tutti::plan
