// SPDX-License-Identifier: Apache-2.0
// MSCCL++ plans: puts and signals as messages, what is refused and where, and which text is which.
#include <string>
#include <vector>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "src/base/error.h"
#include "src/plan/msccl_xml.h"
#include "src/plan/mscclpp_json.h"
#include "src/verify/verifier.h"
#include "tests/support/mscclpp_plan.h"
#include "tests/support/plan_interpreter.h"

namespace tutti::plan {
namespace {

using ::testing::AllOf;
using ::testing::HasSubstr;
using testing::mscclpp_all_gather;
using testing::mscclpp_all_reduce;
using testing::MscclppPlan;
using ::testing::StartsWith;
using Lines = std::vector<std::string>;

Plan import(const MscclppPlan& plan) { return from_mscclpp_json(plan.text(), "test.json"); }

void expect_right(const Plan& plan) {
  const verify::Verdict verdict = verify::verify(plan);
  ASSERT_TRUE(verdict.accepted) << verdict.reason << "\n" << to_text(plan);
  for (const bool in_place : {false, true}) {
    if (in_place && plan.shape.collective == Collective::kAllToAll) continue;
    EXPECT_EQ(test::interpret(plan, {.slots = verdict.min_slots, .in_place = in_place}), "")
        << to_text(plan);
  }
}

std::string refusal(const MscclppPlan& plan) {
  try {
    import(plan);
  } catch (const Error& error) {
    EXPECT_EQ(error.code(), StatusCode::kInvalidArgument);
    return error.what();
  }
  return "accepted";
}

// ---- what is imported ----

TEST(MscclppImport, PutSignalWait_IsAMessageReceivedAtTheWait) {
  const Plan plan = import(mscclpp_all_gather(2));
  expect_right(plan);
  EXPECT_EQ(plan.shape, (Shape{Collective::kAllGather, 2, 0, 1}));
  EXPECT_EQ(to_text(plan),
            "rank 0 lane 0: 0  peer 1 <- {}\n"
            "rank 0 lane 0: 1  {} <- peer 1\n"
            "rank 0 lane 0: 2  peer 1 <- input[0]\n"
            "rank 0 lane 0: 3  output[1] <- peer 1\n"
            "rank 0 lane 1: 0  output[0] <- input[0]\n"
            "rank 1 lane 0: 0  peer 0 <- {}\n"
            "rank 1 lane 0: 1  {} <- peer 0\n"
            "rank 1 lane 0: 2  peer 0 <- input[0]\n"
            "rank 1 lane 0: 3  output[0] <- peer 0\n"
            "rank 1 lane 1: 0  output[1] <- input[0]\n");
}

TEST(MscclppImport, AllGatherOfMoreGpus_IsRight) {
  for (const int n : {3, 4, 8}) expect_right(import(mscclpp_all_gather(n)));
}

TEST(MscclppImport, ReadReduceSend_ReceivesWhatPeersSentAtTheirSignals) {
  for (const int n : {2, 3, 4, 8}) {
    const Plan plan = import(mscclpp_all_reduce(n));
    expect_right(plan);
    EXPECT_EQ(plan.channels, 1);
    EXPECT_EQ(plan.shape.chunks_per_block, n);
  }
}

// Two GPUs reduce in scratch: put the other's half, signal, fold what has come, put the sum.
Lines scratch_all_reduce(const char* fold) {
  Lines lines;
  for (int r = 0; r < 2; ++r) {
    const std::string own = std::to_string(r);
    const std::string peer = std::to_string(1 - r);
    lines.insert(lines.end(),
                 {"gpu 2 2 1", "mem " + peer, "remote " + peer + "s " + peer + "i", "tb",
                  "put i" + peer + " > r0:0", "nop", "signal ch0", "wait ch0", "nop",
                  std::string(fold) + " i" + own + " s0 > i" + own +
                      (std::string(fold) == "res" ? " r1:" + own : ""),
                  "nop"});
    if (std::string(fold) == "re") lines.push_back("put i" + own + " > r1:" + own);
    lines.insert(lines.end(), {"nop", "signal ch0", "wait ch0"});
  }
  return lines;
}

TEST(MscclppImport, ReduceFromScratch_FoldsAndScales) {
  for (const char* fold : {"re", "res"}) {
    const Plan plan = import({"allreduce", true, scratch_all_reduce(fold)});
    expect_right(plan);
    EXPECT_EQ(plan.ranks[0].scratch_chunks, 1);
    const Step& folded = plan.ranks[0].lanes[0].steps[2];
    EXPECT_TRUE(folded.post);
    EXPECT_EQ(folded.sources, (std::vector{Operand::chunk(Buffer::kInput, 0, true),
                                           Operand::chunk(Buffer::kScratch, 0)}));
  }
}

TEST(MscclppImport, SeveralChunks_MoveOneByOne) {
  const Plan plan = import({"allgather",
                            false,
                            {"gpu 2 4 0", "mem 1", "remote 1o", "tb", "copy i0x2 > o0x2",
                             "put i0x2 > r0:0x2", "nop", "signal ch0", "wait ch0",  //
                             "gpu 2 4 0", "mem 0", "remote 0o", "tb", "copy i0x2 > o2x2",
                             "put i0x2 > r0:2x2", "nop", "signal ch0", "wait ch0"}});
  expect_right(plan);
  EXPECT_EQ(plan.ranks[0].lanes[0].steps.size(), 6u);
}

TEST(MscclppImport, Get_IsSentWhereThePeerSignalled) {
  const Plan plan = import(
      {"allgather",
       true,
       {"gpu 1 2 0", "mem 1", "remote 1o", "tb", "signal ch0", "wait ch0",
        "get r0:1 > o1",  //
        "gpu 1 2 0", "mem 0", "remote 0o", "tb", "signal ch0", "wait ch0", "get r0:0 > o0"}});
  expect_right(plan);
  EXPECT_EQ(plan.ranks[0].lanes[0].steps[1].sources,
            std::vector{Operand::chunk(Buffer::kInput, 0)});
}

TEST(MscclppImport, PortChannels_AreOnesOfTheirOwn) {
  for (const char* put : {"pws", "pwsf"}) {
    const std::string op = put;
    const Plan plan = import({"allgather",
                              true,
                              {"gpu 1 2 0", "mem 1", "port 1", "remote 1o", "tb",
                               op + " o0 > r0:0 ch0 port", "flush ch0 port", "wait ch0 port",  //
                               "gpu 1 2 0", "mem 0", "port 0", "remote 0o", "tb",
                               op + " o1 > r0:1 ch0 port", "wait ch0 port"}});
    expect_right(plan);
    EXPECT_EQ(plan.ranks[0].lanes[0].steps[0].sinks, std::vector{Operand::peer(1, 1)});
  }
}

// A threadblock's ids are positions in its own lists.
TEST(MscclppImport, ChannelsOfAThreadblock_AreLookedUp) {
  Lines lines;
  for (int r = 0; r < 2; ++r) {
    const std::string own = std::to_string(r);
    const std::string peer = std::to_string(1 - r);
    lines.insert(lines.end(),
                 {"gpu 1 2 0", "mem " + peer + " " + peer, "remote " + peer + "o", "tb mem 1",
                  "put o" + own + " > r0:" + own, "signal ch0", "wait ch0"});
  }
  const Plan plan = import({"allgather", true, lines});
  expect_right(plan);
  EXPECT_EQ(plan.channels, 2);
  EXPECT_EQ(plan.ranks[0].lanes[0].steps[0].sinks, std::vector{Operand::peer(1, 1)});
}

// Threadblock 0 gets the sum's parts, threadblock 1 passes the sum on when it is there.
Lines two_blocks(const std::vector<std::string>& first_ends, const std::string& second_begins) {
  Lines lines;
  for (int r = 0; r < 2; ++r) {
    const std::string own = std::to_string(r);
    const std::string peer = std::to_string(1 - r);
    lines.insert(lines.end(),
                 {"gpu 2 2 1", "mem " + peer + " " + peer, "remote " + peer + "s " + peer + "i",
                  "sem 0", "tb mem 0", "put i" + peer + " > r0:0", "nop", "signal ch0", "wait ch0",
                  "nop", "re i" + own + " s0 > i" + own});
    lines.insert(lines.end(), first_ends.begin(), first_ends.end());
    lines.push_back("tb mem 1");
    if (!second_begins.empty()) lines.push_back(second_begins);
    lines.insert(lines.end(), {"put i" + own + " > r1:" + own, "nop", "signal ch0", "wait ch0"});
  }
  return lines;
}

TEST(MscclppImport, BarriersAndSemaphores_AreWaitsBetweenLanes) {
  for (const auto& [first, second] : {std::pair{"barrier bar0/2", "barrier bar0/2"},
                                      std::pair{"sem_release sem0", "sem_acquire sem0"}}) {
    const Plan plan = import({"allreduce", true, two_blocks({"nop", first}, second)});
    expect_right(plan);
    EXPECT_EQ(plan.ranks[0].lanes[1].steps[0].waits, (std::vector<Wait>{{0, 2}})) << first;
  }
}

// Without them the second threadblock may send what is not summed yet: the plan is wrong, and the
// verifier says so.
TEST(MscclppImport, AProgramWithARace_IsRejected) {
  const Plan plan = import({"allreduce", true, two_blocks({}, "")});
  EXPECT_FALSE(verify::verify(plan).accepted);
}

// ---- what is refused ----

struct Refusal {
  const char* name;
  Lines ops;  // of GPU 0's only threadblock; GPU 1's waits or signals as `peer_ops` say
  Lines peer_ops;
  const char* where;
  const char* what;
};

TEST(MscclppImport, WhatMessagesCantExpress_IsRefusedNamingTheOperation) {
  const Refusal table[] = {
      {"packets", {"nop", "ppkt i0 > r0:0"}, {}, "op 1 (ppkt)", "flags of packets"},
      {"switch", {"glres i0 > o0"}, {}, "op 0 (glres)", "switch"},
      {"pipeline", {"pipeline"}, {}, "op 0 (pipeline)", "pieces"},
      {"unknown", {"swap i0 > o0"}, {}, "op 0 (swap)", "no such operation"},
      {"older form", {"rrc i0 > o0"}, {}, "op 0 (rrc)", "older form"},
      {"put without signal", {"put i0 > r0:0"}, {}, "op 0 (put)", "no later signal"},
      {"put with a relaxed signal",
       {"put i0 > r0:0", "rlxsignal ch0"},
       {"wait ch0"},
       "op 0 (put)",
       "relaxed signals"},
      {"relaxed wait",
       {"put i0 > r0:0", "signal ch0"},
       {"rlxwait ch0"},
       "gpu 1 threadblock 0 op 0 (rlxwait)",
       "a relaxed wait"},
      {"get without wait", {"get r0:0 > s0"}, {}, "op 0 (get)", "no earlier wait"},
      {"more signals than waits",
       {"signal ch0", "signal ch0"},
       {"wait ch0"},
       "op 0 (signal)",
       "signals gpu 1 2 times on this channel, and that one waits 1 times"},
      {"a wait alone", {"wait ch0"}, {}, "op 0 (wait)", "0 times"},
      {"put to itself", {"put i0 > o0", "signal ch0"}, {"wait ch0"}, "op 0 (put)", "remote buffer"},
      {"different sizes",
       {"put i0x2 > r0:0", "signal ch0"},
       {"wait ch0"},
       "op 0 (put)",
       "2 chunks, got 1"},
      {"one source", {"re i0 > i0"}, {}, "op 0 (re)", "two or more sources"},
      {"remote sink of re", {"re i0 s0 > i0 r0:0"}, {}, "op 0 (re)", "expected 1 sinks, got 2"},
      {"pws on memory", {"pws i0 > r0:0 ch0"}, {}, "op 0 (pws)", "\"port\""},
      {"barrier of others", {"barrier bar0/2"}, {}, "op 0 (barrier)", "1 threadblocks"},
      {"semaphore never released",
       {"sem_acquire sem0"},
       {},
       "op 0 (sem_acquire)",
       "one that releases, got 1 and 0"},
      {"nothing there", {"copy s0 > o0"}, {}, "op 0 (copy)", "nothing has written yet"},
      {"deadlock",
       {"wait ch0", "signal ch0"},
       {"wait ch0", "signal ch0"},
       "op 0 (wait)",
       "deadlock"},
  };
  for (const Refusal& row : table) {
    Lines lines{"gpu 2 2 2", "mem 1", "remote 1s", "sem 0", "tb"};
    lines.insert(lines.end(), row.ops.begin(), row.ops.end());
    lines.insert(lines.end(), {"gpu 2 2 2", "mem 0", "remote 0s", "sem 0", "tb"});
    lines.insert(lines.end(), row.peer_ops.begin(), row.peer_ops.end());
    EXPECT_THAT(refusal({"allreduce", false, lines}),
                AllOf(StartsWith("test.json: gpu "), HasSubstr(row.where), HasSubstr(row.what)))
        << row.name;
  }
}

TEST(MscclppImport, ThreadblockGroupsAndOtherReductions_AreRefused) {
  MscclppPlan plan = mscclpp_all_gather(2);
  auto& op = plan.json()["gpus"][1]["threadblocks"][0]["ops"][3];
  op["tbg_info"] = {{"tb_id", 0}, {"tbg_size", 2}};
  EXPECT_THAT(refusal(plan), HasSubstr("gpu 1 threadblock 0 op 3 (put): a threadblock group"));
  op.erase("tbg_info");
  op["reduce_op"] = "min";
  EXPECT_THAT(refusal(plan), HasSubstr("expected \"sum\""));
  op.erase("reduce_op");
  op["something_new"] = 1;
  EXPECT_THAT(refusal(plan), HasSubstr("unknown member \"something_new\""));
}

TEST(MscclppImport, WhatIsNotOfTheFormat_IsNamedByItsPath) {
  struct Fault {
    const char* pointer;
    MscclppPlan::Json value;
    const char* what;
  };
  const Fault table[] = {
      {"/collective", "broadcast", "/collective: expected one of allreduce"},
      {"/gpus/1/id", 0, "/gpus/1/id: expected 1"},
      {"/gpus/0/input_chunks", 0, "/gpus/0/input_chunks"},
      {"/gpus/0/output_chunks", 3, "/gpus/0/output_chunks: expected 2 chunks"},
      {"/gpus/0/channels/0/connected_to/0", 0, "connected_to/0: expected another GPU"},
      {"/gpus/0/channels/0/channel_type", "smoke", "expected \"memory\" or \"port\""},
      {"/gpus/0/remote_buffers/0/type", "x", "remote_buffers/0/type: expected \"i\""},
      {"/gpus/0/threadblocks/0/channels/0/channel_ids/0", 7, "expected an index of the 1 channels"},
      {"/gpus/0/threadblocks/0/ops/0/channel_ids/0", 1, "ops/0/channel_ids/0: expected an index"},
      {"/gpus/0/threadblocks/0/ops/3/dst_buff/0/index", 2, "dst_buff/0/index: expected an integer"},
      {"/gpus/0/threadblocks/0/ops/3/dst_buff/0/size", 0, "at least one chunk"},
      {"/gpus/0/threadblocks/0/ops/3/dst_buff/0/buffer_id", 4, "of the 1 remote buffers"},
  };
  for (const Fault& fault : table) {
    MscclppPlan plan = mscclpp_all_gather(2);
    plan.json()[MscclppPlan::Json::json_pointer(fault.pointer)] = fault.value;
    EXPECT_THAT(refusal(plan),
                AllOf(StartsWith("test.json: MSCCL++ plan at /"), HasSubstr(fault.what)))
        << fault.pointer;
  }
}

TEST(MscclppImport, TheOlderForm_IsNamed) {
  MscclppPlan plan = mscclpp_all_gather(2);
  plan.json()["gpus"][0]["inputChunks"] = 1;
  EXPECT_THAT(refusal(plan), HasSubstr("older form"));
}

TEST(PlanText, AnyForm_IsRecognised) {
  const std::string mscclpp = mscclpp_all_gather(2).text();
  const Plan plan = from_text(mscclpp, "x");
  EXPECT_TRUE(is_mscclpp_json(mscclpp));
  EXPECT_EQ(plan, from_mscclpp_json(mscclpp, "x"));
  EXPECT_FALSE(is_mscclpp_json(to_json(plan)));
  EXPECT_EQ(from_text(to_json(plan), "x"), plan);
  EXPECT_FALSE(is_mscclpp_json("{\"a\": {\"gpus\": []}}"));
  EXPECT_FALSE(is_mscclpp_json("\"gpus\""));
  EXPECT_FALSE(is_mscclpp_json("{\"gpus\": "));
}

}  // namespace
}  // namespace tutti::plan
