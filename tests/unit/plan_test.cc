// SPDX-License-Identifier: Apache-2.0
// Plans as data: well-formedness, text forms, sizes and hashes.
#include "src/plan/plan.h"

#include <functional>
#include <string>
#include <vector>

#include <gtest/gtest.h>

#include "src/base/error.h"

namespace tutti::plan {
namespace {

// Two ranks reduce to rank 0 through its scratch, with every feature of the format in use.
Plan sample() {
  Plan plan;
  plan.algorithm = "sa\"mple";
  plan.shape = {Collective::kReduce, 2, 0, 2};
  plan.channels = 2;
  plan.slots = 3;
  plan.tiles_in_flight = 1;
  const auto in = [](int32_t i) { return Operand::chunk(Buffer::kInput, i, true); };
  const auto out = [](int32_t i) { return Operand::chunk(Buffer::kOutput, i); };
  const Operand scratch = Operand::chunk(Buffer::kScratch, 0);
  plan.ranks = {{.scratch_chunks = 1,
                 .lanes = {{{{.sources = {Operand::peer(1, 1)}, .sinks = {scratch}, .extent = 0},
                             {.sinks = {Operand::peer(1)}}}},
                           {{{.sources = {scratch, in(0)},
                              .sinks = {out(0)},
                              .extent = 0,
                              .post = true,
                              .waits = {{0, 0}}},
                             {.sources = {Operand::peer(1), in(1)},
                              .sinks = {out(1)},
                              .extent = 1,
                              .post = true}}}}},
                {.scratch_chunks = 0,
                 .lanes = {{{{.sources = {in(0)}, .sinks = {Operand::peer(0, 1)}, .extent = 0},
                             {.sources = {in(1)}, .sinks = {Operand::peer(0)}, .extent = 1},
                             {.sources = {Operand::peer(0)}}}}}}};
  return plan;
}

template <typename F>
std::string error_of(F&& f) {
  try {
    f();
  } catch (const Error& error) {
    EXPECT_EQ(error.code(), StatusCode::kInvalidArgument);
    return error.what();
  }
  return "no error";
}

TEST(Plan, Sample_IsWellFormed) { EXPECT_NO_THROW(check_well_formed(sample())); }

TEST(Plan, Barrier_SignalsAreWellFormed) {
  Plan plan{.algorithm = "b", .shape = {Collective::kBarrier, 2, 0, 0}};
  plan.ranks = {{0, {{{{.sinks = {Operand::peer(1)}}, {.sources = {Operand::peer(1)}}}}}},
                {0, {{{{.sinks = {Operand::peer(0)}}, {.sources = {Operand::peer(0)}}}}}}};
  EXPECT_NO_THROW(check_well_formed(plan));
  EXPECT_EQ(from_json(to_json(plan)), plan);
}

TEST(Plan, BrokenPlan_IsRefusedWithPlaceAndReason) {
  struct Case {
    std::function<void(Plan&)> damage;
    const char* message;
  };
  const auto step = [](Plan& p, size_t rank, size_t lane, size_t i) -> Step& {
    return p.ranks[rank].lanes[lane].steps[i];
  };
  const Case cases[] = {
      {[](Plan& p) { p.shape.n_ranks = 0; }, "plan: expected 1 to 1048576 ranks, got 0"},
      {[](Plan& p) { p.ranks.pop_back(); },
       "plan: expected one program for each of 2 ranks, got 1"},
      {[](Plan& p) { p.shape.root = 2; }, "plan: expected a root from 0 to 1, got 2"},
      {[](Plan& p) { p.shape.collective = Collective::kAllReduce, p.shape.root = 1; },
       "plan: expected a root from 0 to 0, got 1"},
      {[](Plan& p) { p.shape.chunks_per_block = 0; },
       "plan: expected at least 1 chunks_per_block for reduce, got 0"},
      {[](Plan& p) { p.shape.collective = Collective::kBarrier, p.shape.root = 0; },
       "plan: expected 0 chunks_per_block for barrier, got 2"},
      {[](Plan& p) { p.shape.chunks_per_block = 1 << 30; },
       "plan: expected at most 2^31 - 1 extents, got 2147483648"},
      {[](Plan& p) { p.channels = 0; }, "plan: expected at least 1 channel, got 0"},
      {[](Plan& p) { p.slots = 0; }, "plan: expected at least 1 slot, got 0"},
      {[](Plan& p) { p.tiles_in_flight = 0; }, "plan: expected at least 1 tile in flight, got 0"},
      {[](Plan& p) { p.ranks[1].scratch_chunks = -1; },
       "plan: rank 1: expected scratch_chunks of at least 0, got -1"},
      {[&](Plan& p) { step(p, 0, 0, 0).extent = 2; },
       "plan: rank 0 lane 0 step 0: expected an extent below 2, got 2"},
      {[&](Plan& p) { step(p, 0, 0, 1) = {}; },
       "plan: rank 0 lane 0 step 1: expected a source or a sink, got neither"},
      {[&](Plan& p) { step(p, 0, 0, 1).extent = 0; },
       "plan: rank 0 lane 0 step 1: a step with an extent moves data: expected a source and a "
       "sink"},
      {[&](Plan& p) { step(p, 0, 0, 1).post = true; },
       "plan: rank 0 lane 0 step 1: a step without an extent has nothing to apply post to"},
      {[&](Plan& p) { step(p, 1, 0, 0).sinks[0].pre = true; },
       "plan: rank 1 lane 0 step 0: sink 0 (pre(peer 0 channel 1)): only a source that moves data "
       "may be marked pre"},
      {[&](Plan& p) { step(p, 1, 0, 0).sinks[0].index = 1; },
       "plan: rank 1 lane 0 step 0: sink 0 (peer 1 channel 1): expected another rank from 0 to 1"},
      {[&](Plan& p) { step(p, 1, 0, 0).sinks[0].index = -1; },
       "plan: rank 1 lane 0 step 0: sink 0 (peer -1 channel 1): expected another rank from 0 to 1"},
      {[&](Plan& p) { step(p, 1, 0, 0).sinks[0].channel = 2; },
       "plan: rank 1 lane 0 step 0: sink 0 (peer 0 channel 2): expected a channel below 2, got 2"},
      {[&](Plan& p) { step(p, 0, 0, 0).sources[0].channel = 0; },
       "plan: rank 0 lane 1 step 1: source 0 (peer 1): lane 0 uses this end of the connection too; "
       "each end belongs to one lane"},
      {[&](Plan& p) { step(p, 0, 1, 0).sinks[0].buffer = Buffer::kInput; },
       "plan: rank 0 lane 1 step 0: sink 0 (input[0]): the input buffer is read-only"},
      {[&](Plan& p) { step(p, 0, 0, 0).sinks[0].index = 1; },
       "plan: rank 0 lane 0 step 0: sink 0 (scratch[1]): this rank has 1 scratch chunks"},
      {[&](Plan& p) { step(p, 1, 0, 0).sources[0].index = 2; },
       "plan: rank 1 lane 0 step 0: source 0 (pre(input[2])): this rank's input has 2 chunks"},
      {[&](Plan& p) { step(p, 1, 0, 0).sinks[0] = Operand::chunk(Buffer::kOutput, 0); },
       "plan: rank 1 lane 0 step 0: sink 0 (output[0]): this rank's output has 0 chunks"},
      {[&](Plan& p) { step(p, 1, 0, 0).sources[0].index = 1; },
       "plan: rank 1 lane 0 step 0: source 0 (pre(input[1])): expected a chunk of the step's "
       "extent 0, got 1"},
      {[&](Plan& p) { step(p, 0, 0, 1).sinks[0] = Operand::chunk(Buffer::kOutput, 0); },
       "plan: rank 0 lane 0 step 1: sink 0 (output[0]): a step without an extent may only name "
       "peers"},
      {[&](Plan& p) { step(p, 0, 1, 0).sources.push_back(Operand::chunk(Buffer::kInput, 0)); },
       "plan: rank 0 lane 1 step 0: expected distinct operands, got a source twice"},
      {[&](Plan& p) { step(p, 1, 0, 0).sinks.push_back(Operand::peer(0, 1)); },
       "plan: rank 1 lane 0 step 0: expected distinct operands, got a sink twice"},
      {[&](Plan& p) { step(p, 0, 1, 0).waits[0].lane = 2; },
       "plan: rank 0 lane 1 step 0: wait for lane 2 step 0: this rank has 2 lanes"},
      {[&](Plan& p) { step(p, 0, 1, 0).waits[0].lane = 1; },
       "plan: rank 0 lane 1 step 0: wait for lane 1 step 0: a lane runs in order and can't wait "
       "for itself"},
      {[&](Plan& p) { step(p, 0, 1, 0).waits[0].step = 2; },
       "plan: rank 0 lane 1 step 0: wait for lane 0 step 2: that lane has 2 steps"},
  };
  for (const Case& c : cases) {
    Plan plan = sample();
    c.damage(plan);
    EXPECT_EQ(error_of([&] { check_well_formed(plan); }), c.message);
  }
}

TEST(Plan, Text_OneLinePerStep) {
  EXPECT_EQ(to_text(sample()),
            "rank 0 lane 0: 0  scratch[0] <- peer 1 channel 1\n"
            "rank 0 lane 0: 1  peer 1 <- {}\n"
            "rank 0 lane 1: 0  output[0] <- reduce(scratch[0], pre(input[0]))  post  after lane 0 "
            "step 0\n"
            "rank 0 lane 1: 1  output[1] <- reduce(peer 1, pre(input[1]))  post\n"
            "rank 1 lane 0: 0  peer 0 channel 1 <- pre(input[0])\n"
            "rank 1 lane 0: 1  peer 0 <- pre(input[1])\n"
            "rank 1 lane 0: 2  {} <- peer 0\n");
}

TEST(Plan, Size_CountsStepsAndMessages) {
  const PlanSize size = size_of(sample());
  EXPECT_EQ(size.steps, 7);
  EXPECT_EQ(size.messages, 3);
  EXPECT_EQ(size.longest_lane, 3);
}

TEST(Plan, Hash_ChangesWithEveryField) {
  const std::function<void(Plan&)> changes[] = {
      [](Plan& p) { p.algorithm = "other"; },
      [](Plan& p) { p.shape.collective = Collective::kAllReduce; },
      [](Plan& p) { p.shape.n_ranks = 3; },
      [](Plan& p) { p.shape.root = 1; },
      [](Plan& p) { p.shape.chunks_per_block = 3; },
      [](Plan& p) { p.channels = 3; },
      [](Plan& p) { p.slots = 4; },
      [](Plan& p) { p.tiles_in_flight = 2; },
      [](Plan& p) { p.ranks.emplace_back(); },
      [](Plan& p) { p.ranks[1].scratch_chunks = 1; },
      [](Plan& p) { p.ranks[1].lanes.emplace_back(); },
      [](Plan& p) { p.ranks[1].lanes[0].steps.pop_back(); },
      [](Plan& p) { p.ranks[1].lanes[0].steps[0].extent = 1; },
      [](Plan& p) { p.ranks[1].lanes[0].steps[0].post = true; },
      [](Plan& p) {
        p.ranks[1].lanes[0].steps[0].waits.push_back({0, 0});
      },
      [](Plan& p) { p.ranks[0].lanes[1].steps[0].waits[0].lane = 1; },
      [](Plan& p) { p.ranks[0].lanes[1].steps[0].waits[0].step = 1; },
      [](Plan& p) { p.ranks[1].lanes[0].steps[0].sources[0].pre = false; },
      [](Plan& p) { p.ranks[1].lanes[0].steps[0].sources[0].index = 1; },
      [](Plan& p) { p.ranks[1].lanes[0].steps[0].sources[0].buffer = Buffer::kOutput; },
      [](Plan& p) { p.ranks[1].lanes[0].steps[0].sources[0].kind = Operand::Kind::kPeer; },
      [](Plan& p) { p.ranks[1].lanes[0].steps[0].sinks[0].channel = 0; },
      [](Plan& p) {
        std::swap(p.ranks[0].lanes[1].steps[0].sources[0], p.ranks[0].lanes[1].steps[0].sources[1]);
      },
  };
  EXPECT_EQ(hash(sample()), hash(sample()));
  std::vector<uint64_t> hashes{hash(sample())};
  for (const auto& change : changes) {
    Plan plan = sample();
    change(plan);
    hashes.push_back(hash(plan));
  }
  for (size_t i = 0; i < hashes.size(); ++i) {
    for (size_t j = 0; j < i; ++j) EXPECT_NE(hashes[i], hashes[j]) << i << " and " << j;
  }
}

TEST(PlanJson, Sample_ReadsBackEqual) {
  const std::string json = to_json(sample());
  EXPECT_EQ(from_json(json), sample());
  EXPECT_NE(
      json.find(
          "      {\"sinks\": [\"output[0]\"], \"sources\": [\"scratch[0]\",\"pre(input[0])\"], "
          "\"extent\": 0, \"post\": true, \"waits\": [[0,0]]}"),
      std::string::npos)
      << json;
}

// The sample's JSON with the first `from` replaced.
std::string with(const std::string& from, const std::string& to) {
  std::string json = to_json(sample());
  const size_t at = json.find(from);
  EXPECT_NE(at, std::string::npos) << from;
  return json.replace(at, from.size(), to);
}

TEST(PlanJson, Malformed_IsRefusedWithPath) {
  constexpr const char* kForms =
      "expected \"input[i]\", \"output[i]\", \"scratch[i]\", \"peer r\", \"peer r channel c\" or "
      "\"pre(...)\", got ";
  struct Case {
    std::string text;
    std::string message;
  };
  const auto operand = [&](const char* written) {
    return Case{with("\"scratch[0]\"", written),
                std::string("plan at /ranks/0/lanes/0/0/sinks/0: ") + kForms + written};
  };
  const Case cases[] = {
      {"", "plan: not JSON, at byte 1 of 0"},
      {"{\"format\": }", "plan: not JSON, at byte 12 of 12"},
      {"[]", "plan at /: expected an object, got []"},
      {"{}", "plan at /: expected a member \"format\", got none"},
      {with("tutti-plan-1", "msccl"), "plan at /format: expected \"tutti-plan-1\", got \"msccl\""},
      {with("\"slots\"", "\"slotz\""), "plan at /: unknown member \"slotz\""},
      {with("\"sa\\\"mple\"", "7"), "plan at /algorithm: expected a string, got 7"},
      {with("\"reduce\"", "\"sum\""),
       "plan at /collective: no collective is called \"sum\"; expected one of all_reduce, reduce, "
       "broadcast, all_gather, "
       "reduce_scatter, all_to_all, gather, scatter, barrier"},
      {with("\"n_ranks\": 2", "\"n_ranks\": -2"),
       "plan at /n_ranks: expected an integer from 0 to 2147483647, got -2"},
      {with("\"n_ranks\": 2", "\"n_ranks\": 2147483648"),
       "plan at /n_ranks: expected an integer from 0 to 2147483647, got 2147483648"},
      {with("\"n_ranks\": 2", "\"n_ranks\": 2.0"),
       "plan at /n_ranks: expected an integer from 0 to 2147483647, got 2.0"},
      {with("\"root\": 0, ", ""), "plan at /: expected a member \"root\", got none"},
      {with("\"scratch_chunks\": 1, ", ""),
       "plan at /ranks/0: expected a member \"scratch_chunks\", got none"},
      {with("\"lanes\": [", "\"lanes\": [3, "),
       "plan at /ranks/0/lanes/0: expected an array, got 3"},
      {with("[\"scratch[0]\"]", "\"scratch[0]\""),
       "plan at /ranks/0/lanes/0/0/sinks: expected an array, got \"scratch[0]\""},
      {with("\"scratch[0]\"", "0"), "plan at /ranks/0/lanes/0/0/sinks/0: expected a string, got 0"},
      {with("\"extent\": 0", "\"extent\": \"0\""),
       "plan at /ranks/0/lanes/0/0/extent: expected an integer from 0 to 2147483647, got \"0\""},
      {with("\"post\": true", "\"post\": 1"),
       "plan at /ranks/0/lanes/1/0/post: expected true or false, got 1"},
      {with("\"post\"", "\"Post\""), "plan at /ranks/0/lanes/1/0: unknown member \"Post\""},
      {with("[[0,0]]", "[[0]]"),
       "plan at /ranks/0/lanes/1/0/waits/0: expected [lane, step], got [0]"},
      {with("[[0,0]]", "[[0,-1]]"),
       "plan at /ranks/0/lanes/1/0/waits/0/1: expected an integer from 0 to 4294967295, got -1"},
      operand("\"inptu[0]\""),
      operand("\"scratch[0\""),
      operand("\"scratch[-1]\""),
      operand("\"scratch[0] \""),
      operand("\"scratch[99999999999]\""),
      operand("\"peer\""),
      operand("\"peer x\""),
      operand("\"peer 1 channel \""),
      operand("\"pre(peer 1\""),
      operand("\"peer 1)\""),
      operand("\"\""),
  };
  for (const Case& c : cases) {
    EXPECT_EQ(error_of([&] { from_json(c.text); }), c.message) << c.text.substr(0, 200);
  }
}

}  // namespace
}  // namespace tutti::plan
