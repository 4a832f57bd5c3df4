// SPDX-License-Identifier: Apache-2.0
// MSCCL schedules: what each step means, what is refused and where, and that every plan survives
// the way there and back.
#include <filesystem>
#include <fstream>
#include <set>
#include <sstream>
#include <string>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "src/base/error.h"
#include "src/plan/msccl_xml.h"
#include "src/planner/planner.h"
#include "src/verify/verifier.h"
#include "tests/support/msccl_schedule.h"
#include "tests/support/plan_interpreter.h"

namespace tutti::plan {
namespace {

using ::testing::AllOf;
using ::testing::HasSubstr;
using testing::MscclSchedule;

Plan import(const std::string& algo, const std::vector<std::string>& lines) {
  return from_msccl_xml(MscclSchedule(algo, lines).xml(), "test.xml");
}

void expect_right(const Plan& plan) {
  const verify::Verdict verdict = verify::verify(plan);
  ASSERT_TRUE(verdict.accepted) << verdict.reason << "\n" << to_text(plan);
  for (const bool in_place : {false, true}) {
    if (in_place && plan.shape.collective == Collective::kAllToAll) continue;
    EXPECT_EQ(test::interpret(plan, {.slots = verdict.min_slots, .in_place = in_place}), "")
        << to_text(plan);
  }
}

// ---- import ----

constexpr const char* kAllReduce2 =
    R"(coll="allreduce" ngpus="2" nchunksperloop="2" inplace="1" outofplace="1")";

TEST(MscclImport, ReceiveReduceCopy_ScalesRawInputsAndTheCompleteSumOnce) {
  const Plan plan = import(
      kAllReduce2, {"gpu 0", "tb 1 1 0",                                                        //
                    "s i0 o0 1", "rrc i1 o1 1", "s o1 o0 1", "r i0 o0 1", "gpu 0", "tb 0 0 0",  //
                    "s i1 o0 1", "rrc i0 o0 1", "s o0 o0 1", "r i0 o1 1"});
  expect_right(plan);
  EXPECT_EQ(to_text(plan),
            "rank 0 lane 0: 0  peer 1 <- pre(input[0])\n"
            "rank 0 lane 0: 1  output[1] <- reduce(peer 1, pre(input[1]))  post\n"
            "rank 0 lane 0: 2  peer 1 <- output[1]\n"
            "rank 0 lane 0: 3  output[0] <- peer 1\n"
            "rank 1 lane 0: 0  peer 0 <- pre(input[1])\n"
            "rank 1 lane 0: 1  output[0] <- reduce(peer 0, pre(input[0]))  post\n"
            "rank 1 lane 0: 2  peer 0 <- output[0]\n"
            "rank 1 lane 0: 3  output[1] <- peer 0\n");
}

TEST(MscclImport, ForwardingSteps_MakeARing) {
  std::vector<std::string> lines;
  for (int r = 0; r < 3; ++r) {
    const auto c = [&](int k) { return std::to_string((r + 6 - k) % 3); };
    lines.insert(lines.end(), {"gpu 0", "tb " + c(-1) + " " + c(1) + " 0", "s i" + c(0) + " o0 1",
                               "rrs i" + c(1) + " o0 1", "rrcs i" + c(2) + " o" + c(2) + " 1",
                               "rcs i0 o" + c(0) + " 1", "r i0 o" + c(1) + " 1"});
  }
  const Plan plan = import(R"(coll="allreduce" ngpus="3" nchunksperloop="3")", lines);
  expect_right(plan);
  EXPECT_EQ(plan.ranks[0].lanes[0].steps[1].sinks, std::vector{Operand::peer(1)});
  EXPECT_EQ(plan.ranks[0].lanes[0].steps[3].sinks.size(), 2u);
}

// Written as schedules for in-place calls are: no output buffer, `re` into the input, several
// chunks per message, and a nop for the second of two dependencies.
TEST(MscclImport, InPlaceAllReduce_WritesTheOutputAndWorksOutOfPlace) {
  std::vector<std::string> lines;
  for (int r = 0; r < 3; ++r) {
    const std::string own = std::to_string(2 * r);
    lines.insert(lines.end(),
                 {"gpu 4", "tb -1 -1 0", "nop i0 o0 0 after 1 1", "re s0 i" + own + " 1 after 2 1",
                  "re s2 i" + own + " 1", "re s1 i" + std::to_string(2 * r + 1) + " 1",
                  "re s3 i" + std::to_string(2 * r + 1) + " 1 hasdep"});
    for (int d = 1; d < 3; ++d) {
      const std::string peer = std::to_string((r + d) % 3);
      const std::string theirs = std::to_string((r + d) % 3 * 2);
      lines.insert(lines.end(), {"tb " + peer + " " + peer + " 0", "s i" + theirs + " o0 2",
                                 "r i0 s" + std::to_string(2 * d - 2) + " 2 hasdep",
                                 "s i" + own + " o0 2 after 0 4", "r i0 i" + theirs + " 2"});
    }
  }
  const Plan plan =
      import(R"(coll="allreduce" ngpus="3" nchunksperloop="6" inplace="1" outofplace="0")", lines);
  expect_right(plan);
  const std::vector<Step>& folds = plan.ranks[1].lanes[0].steps;
  ASSERT_EQ(folds.size(), 2u);  // two `re` in a row are one wide reduction
  EXPECT_EQ(folds[0].sources, (std::vector{Operand::chunk(Buffer::kInput, 2, true),
                                           Operand::chunk(Buffer::kScratch, 0),
                                           Operand::chunk(Buffer::kScratch, 2)}));
  EXPECT_TRUE(folds[0].post);
  EXPECT_EQ(folds[0].waits, (std::vector<Wait>{{1, 3}, {2, 3}}));
}

TEST(MscclImport, InPlaceAllGather_CopiesTheOwnBlock) {
  const Plan plan = import(R"(coll="allgather" ngpus="2" nchunksperloop="2" inplace="1")",
                           {"gpu 0", "tb 1 1 0", "s o0 o0 1", "r i0 o1 1",  //
                            "gpu 0", "tb 0 0 0", "s i0 o0 1", "r i0 o0 1"});
  expect_right(plan);
  EXPECT_EQ(plan.ranks[1].lanes.back().steps[0].sources[0], Operand::chunk(Buffer::kInput, 0));
}

// Partial sums in input chunks that are nobody's output here.
TEST(MscclImport, InPlaceReduceScatter_KeepsPartialSumsInScratch) {
  std::vector<std::string> lines;
  for (int r = 0; r < 3; ++r) {
    const auto c = [&](int k) { return std::to_string((r + 6 - k) % 3); };
    lines.insert(lines.end(),
                 {"gpu 0", "tb " + c(-1) + " " + c(1) + " 0", "s i" + c(1) + " o0 1",
                  "rrc i" + c(2) + " i" + c(2) + " 1", "s i" + c(2) + " o0 1", "rrc o0 o0 1"});
  }
  const Plan plan =
      import(R"(coll="reduce_scatter" ngpus="3" nchunksperloop="3" inplace="1")", lines);
  expect_right(plan);
  EXPECT_EQ(plan.ranks[0].scratch_chunks, 1);
}

TEST(MscclImport, AllToAllAroundARing_RelaysThroughScratch) {
  std::vector<std::string> lines;
  for (int r = 0; r < 3; ++r) {
    const auto c = [&](int k) { return std::to_string((r + 6 - k) % 3); };
    lines.insert(lines.end(),
                 {"gpu 1", "tb " + c(-1) + " " + c(1) + " 0", "cpy i" + c(0) + " o" + c(0) + " 1",
                  "s i" + c(-1) + " o0 1", "s i" + c(-2) + " o0 1", "r i0 o" + c(1) + " 1",
                  "rcs i0 s0 1", "r i0 o" + c(2) + " 1"});
  }
  const Plan plan = import(R"(coll="alltoall" ngpus="3" nchunksperloop="3")", lines);
  expect_right(plan);
  EXPECT_EQ(plan.ranks[0].scratch_chunks, 1);
}

TEST(MscclImport, RootAttribute_IsTheRoot) {
  const Plan plan = import(R"(coll="broadcast" root="1" ngpus="2" nchunksperloop="1")",
                           {"gpu 0", "tb -1 1 0", "r i0 o0 1",  //
                            "gpu 0", "tb 0 -1 0", "cpy i0 o0 1", "s i0 o0 1"});
  EXPECT_EQ(plan.shape.root, 1);
  expect_right(plan);
}

// ---- bad schedules ----

struct Bad {
  const char* what;
  std::string xml;
  std::vector<std::string> said;  // parts of the message
};

std::string with(const std::string& from, const std::string& to) {
  std::string xml = MscclSchedule(kAllReduce2, {"gpu 0", "tb 1 1 0", "s i0 o0 1", "rrc i1 o1 1",
                                                "s o1 o0 1", "r i0 o0 1",  //
                                                "gpu 0", "tb 0 0 0", "s i1 o0 1 hasdep",
                                                "rrc i0 o0 1", "s o0 o0 1", "r i0 o1 1"})
                        .xml();
  const size_t at = xml.find(from);
  EXPECT_NE(at, std::string::npos) << from;
  return xml.replace(at, from.size(), to);
}

TEST(MscclImport, BadFile_IsRefusedNamingLineElementAttributeAndWhatWasExpected) {
  const Bad bad[] = {
      {"no XML", "<algo", {"bad.xml:1:", "not XML"}},
      {"another root", "<system/>", {"bad.xml:1:", "expected an element <algo>"}},
      {"collective",
       with("allreduce", "allredux"),
       {":1:", "<algo> coll", "reduce_scatter", "allredux"}},
      {"no count",
       with("nchunksperloop=\"2\"", ""),
       {":1:", "nchunksperloop", "got no such attribute"}},
      {"gpus", with("ngpus=\"2\"", "ngpus=\"3\""), {"<algo> ngpus", "expected 3", "id 2"}},
      {"gpu twice", with("gpu id=\"1\"", "gpu id=\"0\""), {":10:", "<gpu> id", "0 twice"}},
      {"tb id", with("tb id=\"0\"", "tb id=\"1\""), {":3:", "<tb> id", "from 0 to 0", "\"1\""}},
      {"itself", with("send=\"1\"", "send=\"0\""), {":3:", "<tb> send", "another gpu"}},
      {"step number", with("s=\"1\"", "s=\"7\""), {":5:", "<step> s:", "from 1 to 1", "\"7\""}},
      {"type", with("type=\"rrc\"", "type=\"rrx\""), {":5:", "<step> type", "rrcs", "rrx"}},
      {"buffer", with("srcbuf=\"i\"", "srcbuf=\"x\""), {":4:", "srcbuf", "i, o or s"}},
      {"offset", with("srcoff=\"1\"", "srcoff=\"2\""), {":5:", "srcoff", "from 0 to 1", "\"2\""}},
      {"count", with("cnt=\"1\"", "cnt=\"4\""), {":4:", "cnt", "2 chunks of buffer i", "4"}},
      {"no number", with("cnt=\"1\"", "cnt=\"1x\""), {":4:", "cnt", "1x"}},
      {"no sender", with("send=\"1\"", "send=\"-1\""), {":4:", "type", "no send"}},
      {"no such step",
       with("depid=\"-1\" deps=\"-1\"", "depid=\"0\" deps=\"9\""),
       {":4:", "depid", "tb 0 step 9"}},
      {"no hasdep", with("depid=\"-1\" deps=\"-1\"", "depid=\"0\" deps=\"1\""), {":4:", "hasdep"}},
      {"unwritten",
       with("srcbuf=\"o\" srcoff=\"1\"", "srcbuf=\"o\" srcoff=\"0\""),
       {":6:", "gpu 0 tb 0 step 2 (s)", "o[0]", "nothing has written"}},
      {"counts differ",
       with("srcoff=\"0\" dstbuf=\"o\" dstoff=\"0\" cnt=\"1\"",
            "srcoff=\"0\" dstbuf=\"o\" dstoff=\"0\" cnt=\"2\""),
       {"gpu 1 tb 0 step 1 (rrc)", "expected 2", "line 4", "got 1"}},
      {"stuck", with("recv=\"1\"", "recv=\"-1\""), {"type", "no recv"}},
      {"waits for ever", with("chan=\"0\"", "chan=\"1\""), {"deadlock", "channel"}},
  };
  for (const Bad& b : bad) {
    try {
      from_msccl_xml(b.xml, "bad.xml");
      ADD_FAILURE() << b.what << " was accepted";
    } catch (const Error& error) {
      EXPECT_EQ(error.code(), StatusCode::kInvalidArgument) << b.what;
      for (const std::string& part : b.said) EXPECT_THAT(error.what(), HasSubstr(part)) << b.what;
    }
  }
}

// ---- export ----

std::vector<Plan> library_plans(int32_t most_ranks) {
  std::vector<Plan> plans;
  for (const planner::AlgorithmRow& row : planner::algorithm_table()) {
    for (int32_t n = 1; n <= most_ranks; ++n) {
      for (const int32_t root : std::set<int32_t>{0, has_root(row.collective) ? n / 2 : 0}) {
        for (const int32_t channels : {1, 2}) {
          const planner::PlanRequest request{row.collective, n, root, channels};
          if (row.supports(request)) plans.push_back(row.build(request));
        }
      }
    }
  }
  return plans;
}

bool has_name_in_msccl(Collective collective) {
  return collective != Collective::kBarrier && collective != Collective::kGather &&
         collective != Collective::kScatter;
}

TEST(MscclExport, EveryPlanOfTheLibrary_SurvivesTheRoundTrip) {
  int exported = 0;
  for (const Plan& plan : library_plans(8)) {
    if (!has_name_in_msccl(plan.shape.collective)) {
      EXPECT_THROW(to_msccl_xml(plan), Error) << name(plan.shape.collective);
      continue;
    }
    SCOPED_TRACE(std::string(name(plan.shape.collective)) + " " + plan.algorithm + " " +
                 std::to_string(plan.shape.n_ranks));
    const Plan back = from_msccl_xml(to_msccl_xml(plan));
    EXPECT_EQ(back.shape, plan.shape);
    EXPECT_EQ(back.algorithm, plan.algorithm);
    EXPECT_EQ(size_of(back).messages, size_of(plan).messages);
    expect_right(back);
    if (HasFatalFailure() || HasNonfatalFailure()) break;
    ++exported;
  }
  RecordProperty("exported", exported);
  EXPECT_GT(exported, 200);
}

TEST(MscclExport, Ring_IsWrittenInForwardingSteps) {
  const planner::AlgorithmRow* ring = planner::find_algorithm(Collective::kAllReduce, "ring");
  const std::string xml = to_msccl_xml(ring->build({Collective::kAllReduce, 4, 0, 1}));
  for (const char* type : {"\"rrs\"", "\"rrcs\"", "\"rcs\""}) EXPECT_THAT(xml, HasSubstr(type));
  EXPECT_THAT(xml, ::testing::Not(HasSubstr("\"nop\"")));
}

TEST(MscclExport, Signals_AreRefused) {
  Plan plan = planner::find_algorithm(Collective::kAllGather, "ring")
                  ->build({Collective::kAllGather, 2, 0, 1});
  Step signal;
  signal.sinks = {Operand::peer(1)};
  plan.ranks[0].lanes[0].steps.push_back(signal);
  EXPECT_THROW(to_msccl_xml(plan), Error);
}

TEST(PlanText, EitherForm_IsRecognised) {
  const Plan plan = planner::find_algorithm(Collective::kAllReduce, "ring")
                        ->build({Collective::kAllReduce, 2, 0, 1});
  EXPECT_EQ(from_text(to_json(plan)), plan);
  EXPECT_EQ(from_text("\n " + to_msccl_xml(plan)).shape, plan.shape);
  try {
    from_text("{}", "x.json");
    ADD_FAILURE();
  } catch (const Error& error) {
    EXPECT_THAT(error.what(), HasSubstr("x.json: "));
  }
}

// ---- what others made ----

std::string read_file(const std::filesystem::path& path) {
  std::ifstream file(path);
  std::ostringstream text;
  text << file.rdbuf();
  return text.str();
}

TEST(MscclImport, PublicSchedules_AreRight) {
  const char* set = std::getenv("TUTTI_TEST_TOPOLOGIES");
  const std::filesystem::path folder =
      std::filesystem::path(set != nullptr ? set : TUTTI_SOURCE_DIR "/../shared/topologies") /
      "msccl-xml";
  if (!std::filesystem::is_directory(folder))
    GTEST_SKIP() << folder << " is not there; set TUTTI_TEST_TOPOLOGIES to the folder of it";
  int files = 0;
  for (const auto& entry : std::filesystem::directory_iterator(folder)) {
    SCOPED_TRACE(entry.path());
    const Plan plan = from_msccl_xml(read_file(entry.path()), entry.path().filename().string());
    expect_right(plan);
    expect_right(from_msccl_xml(to_msccl_xml(plan)));
    ++files;
  }
  EXPECT_GT(files, 0);
}

}  // namespace
}  // namespace tutti::plan
