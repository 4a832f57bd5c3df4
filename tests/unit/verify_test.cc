// SPDX-License-Identifier: Apache-2.0
// The verifier on plans written by hand: good ones, and one broken in each way that it knows.
#include <functional>
#include <string>
#include <vector>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "src/base/clock.h"
#include "src/verify/verifier.h"
#include "tests/support/brute_force.h"
#include "tests/support/hand_plans.h"

namespace tutti::verify {
namespace {

using namespace tutti::testing;  // NOLINT(google-build-using-namespace): the plans' vocabulary
using ::testing::HasSubstr;

std::string brute_force(const Plan& plan, const Verdict* references = nullptr) {
  for (uint64_t seed = 0; seed < 400; ++seed) {
    BruteForceOptions options{.seed = seed,
                              .extra_slots = static_cast<int32_t>(seed % 3),
                              .some_chunks_empty = seed % 4 == 3};
    if (references != nullptr)
      options.by_reference = [&](int32_t source, int32_t sink, int32_t channel, bool in_place) {
        for (const ConnectionVerdict& c : references->connections)
          if (c.source_rank == source && c.sink_rank == sink && c.channel == channel)
            return in_place ? c.reference_safe_in_place : c.reference_safe_out_of_place;
        return false;
      };
    std::string fault = BruteForce(plan, options).run();
    if (!fault.empty()) return fault + " (seed " + std::to_string(seed) + ")";
  }
  return "";
}

TEST(Verifier_HandPlans, AreAcceptedAndRunRight) {
  for (const Plan& plan : hand_plans()) {
    const Verdict verdict = verify(plan);
    EXPECT_TRUE(verdict.accepted) << verdict.reason << "\n" << plan::to_text(plan);
    EXPECT_EQ(verdict.reason, "");
    EXPECT_EQ(brute_force(plan), "") << plan::to_text(plan);
    EXPECT_EQ(brute_force(plan, &verdict), "") << "by reference\n" << plan::to_text(plan);
  }
}

// ---- one way to break a plan per row ----

// Refused for its form, a brute-force run of it means nothing; refused for what a run may do, one
// must show it.
enum class Judge : uint8_t { kCannotTell, kSeesIt };

struct BrokenCase {
  Judge judge;
  const char* name;
  std::function<Plan()> make;
  std::vector<const char*> reason;  // fragments
};

Plan broken(Plan plan, const std::function<void(Plan&)>& how) {
  how(plan);
  return plan;
}

// Scratch is reused for extent 1 once extent 2 has gone to rank 1 and back, which says nothing when
// extent 2 is empty.
Plan ordered_by_another_extent_only() {
  Plan plan = empty_plan(Collective::kBroadcast, 2, 3, 2);
  plan.channels = 2;
  plan.ranks[0].scratch_chunks = 1;
  lane(plan, 0, 0) = {step({scratch(0)}, {in(0)}, 0), step({out(0)}, {scratch(0)}, 0),
                      step({peer(1)}, {in(2)}, 2)};
  lane(plan, 0, 1) = {step({out(2)}, {peer(1)}, 2), step({scratch(0)}, {in(1)}, 1),
                      step({out(1)}, {scratch(0)}, 1), step({Operand::peer(1, 1)}, {in(0)}, 0),
                      step({Operand::peer(1, 1)}, {in(1)}, 1)};
  lane(plan, 1, 0) = {step({out(2), peer(0)}, {peer(0)}, 2),
                      step({out(0)}, {Operand::peer(0, 1)}, 0),
                      step({out(1)}, {Operand::peer(0, 1)}, 1)};
  return plan;
}

std::vector<BrokenCase> broken_cases() {
  return {
      {Judge::kCannotTell,
       "OutOfRange",
       [] {
         return broken(swap_all_reduce(), [](Plan& p) { lane(p, 1)[0].sources[0].index = 7; });
       },
       {"well-formed", "rank 1 lane 0 step 0"}},
      {Judge::kCannotTell,
       "TooFewRanks",
       [] { return broken(swap_all_reduce(), [](Plan& p) { p.ranks.pop_back(); }); },
       {"well-formed"}},
      {Judge::kCannotTell,
       "NoSlots",
       [] { return broken(swap_all_reduce(), [](Plan& p) { p.slots = 0; }); },
       {"well-formed"}},
      {Judge::kCannotTell,
       "NoTileInFlight",
       [] { return broken(swap_all_reduce(), [](Plan& p) { p.tiles_in_flight = 0; }); },
       {"well-formed"}},
      {Judge::kCannotTell,
       "HugeScratch",
       [] {
         return broken(swap_all_reduce(), [](Plan& p) { p.ranks[0].scratch_chunks = INT32_MAX; });
       },
       {"size", "expected at most"}},
      {Judge::kCannotTell,
       "ManyChunksFewSteps",
       [] {
         return broken(swap_all_reduce(), [](Plan& p) { p.shape.chunks_per_block = 4'000'000; });
       },
       {"size", "4 chunks for each chunk that the steps name, got 16000000"}},
      {Judge::kCannotTell,
       "WaitForNoLane",
       [] {
         return broken(two_lane_reduce(), [](Plan& p) { lane(p, 0, 1)[0].waits[0].lane = 5; });
       },
       {"well-formed", "rank 0 lane 1 step 0"}},
      {Judge::kCannotTell,
       "WaitForNoStep",
       [] {
         return broken(two_lane_reduce(), [](Plan& p) { lane(p, 0, 1)[0].waits[0].step = 1; });
       },
       {"well-formed", "rank 0 lane 1 step 0"}},
      {Judge::kCannotTell,
       "NothingToDo",
       [] { return broken(swap_all_reduce(), [](Plan& p) { lane(p, 0).push_back({}); }); },
       {"well-formed", "rank 0 lane 0 step 2"}},
      {Judge::kCannotTell,
       "WritesInput",
       [] {
         return broken(swap_all_reduce(), [](Plan& p) { lane(p, 0)[1].sinks.push_back(in(0)); });
       },
       {"well-formed", "rank 0 lane 0 step 1", "input"}},
      {Judge::kCannotTell,
       "OwnPeer",
       [] { return broken(swap_all_reduce(), [](Plan& p) { lane(p, 0)[0].sinks[0].index = 0; }); },
       {"well-formed", "rank 0 lane 0 step 0"}},
      {Judge::kCannotTell,
       "EndInTwoLanes",
       [] {
         return broken(direct_all_gather(2), [](Plan& p) {
           lane(p, 0, 1).push_back(step({peer(1)}, {out(1)}, 1));
           lane(p, 1, 1).push_back(step({out(1)}, {peer(0)}, 1));
         });
       },
       {"well-formed", "rank 0 lane 1 step 1", "lane 0"}},
      {Judge::kCannotTell,
       "ConnectionTwiceInAStep",
       [] {
         return broken(swap_all_reduce(),
                       [](Plan& p) { lane(p, 0)[1].sources.push_back(peer(1)); });
       },
       {"well-formed", "rank 0 lane 0 step 1", "twice"}},
      {Judge::kCannotTell,
       "SinkTwiceInAStep",
       [] {
         return broken(swap_all_reduce(), [](Plan& p) { lane(p, 0)[1].sinks.push_back(out(0)); });
       },
       {"well-formed", "rank 0 lane 0 step 1", "twice"}},
      {Judge::kCannotTell,
       "PreOnSink",
       [] { return broken(swap_all_reduce(), [](Plan& p) { lane(p, 0)[1].sinks[0].pre = true; }); },
       {"well-formed", "rank 0 lane 0 step 1"}},
      {Judge::kCannotTell,
       "PostOnSignal",
       [] { return broken(dissemination_barrier(2), [](Plan& p) { lane(p, 0)[0].post = true; }); },
       {"well-formed", "rank 0 lane 0 step 0", "post"}},
      {Judge::kSeesIt,
       "ExtentsDiffer",
       [] {
         return broken(ring_all_reduce(2), [](Plan& p) {
           lane(p, 0)[0].extent = 1;
           lane(p, 0)[0].sources[0].index = 1;
         });
       },
       {"messages agree", "connection 0->1", "message 0", "rank 1 lane 0 step 1 expects extent 0",
        "sends extent 1"}},
      {Judge::kSeesIt,
       "SignalMeetsData",
       [] { return broken(chain_broadcast(2), [](Plan& p) { lane(p, 1)[0] = await(0); }); },
       {"messages agree", "connection 0->1", "expects a signal", "sends extent 0"}},
      {Judge::kSeesIt,
       "LeftInFifo",
       [] {
         return broken(dissemination_barrier(2), [](Plan& p) { lane(p, 0).push_back(signal(1)); });
       },
       {"messages agree", "connection 0->1", "2 sends but 1 receives", "leaves its message"}},
      {Judge::kSeesIt,
       "NobodySends",
       [] {
         return broken(dissemination_barrier(2), [](Plan& p) { lane(p, 0).push_back(await(1)); });
       },
       {"messages agree", "connection 1->0", "1 sends but 2 receives", "nobody sends"}},
      {Judge::kSeesIt,
       "ReceivesBeforeSending",
       [] {
         return broken(dissemination_barrier(2), [](Plan& p) {
           std::swap(lane(p, 0)[0], lane(p, 0)[1]);
           std::swap(lane(p, 1)[0], lane(p, 1)[1]);
         });
       },
       {"deadlock at 2 slots", "rank 0 lane 0 step 0 (tile 0) waits for a message from rank 1",
        "rank 1 lane 0 step 0 (tile 0) waits for a message from rank 0", "closes the circle"}},
      {Judge::kSeesIt,
       "TooFewSlots",
       [] {
         Plan p = empty_plan(Collective::kAllReduce, 2, 3);
         for (int32_t r : {0, 1}) {
           for (int32_t c = 0; c < 3; ++c)
             lane(p, r).push_back(step({peer(1 - r)}, {in_pre(c)}, c));
           for (int32_t c = 0; c < 3; ++c)
             lane(p, r).push_back(step({out(c)}, {peer(1 - r), in_pre(c)}, c, true));
         }
         return p;
       },
       {"deadlock at 2 slots", "rank 0 lane 0 step 2 (tile 0) waits for a free slot to rank 1",
        "rank 1 lane 0 step 2 (tile 0) waits for a free slot to rank 0"}},
      {Judge::kCannotTell,
       "WaitsForItself",
       [] {
         return broken(two_lane_reduce(), [](Plan& p) { lane(p, 0, 1)[0].waits[0] = {1, 0}; });
       },
       {"rank 0 lane 1 step 0"}},
      {Judge::kSeesIt,
       "WaitsInACircle",
       [] {
         return broken(two_lane_reduce(), [](Plan& p) {
           lane(p, 0, 0)[0].waits.push_back({1, 0});
         });
       },
       {"deadlock", "waits for step 0 of lane 1", "waits for step 0 of lane 0"}},
      {Judge::kSeesIt,
       "WaitDropped",
       [] { return broken(two_lane_reduce(), [](Plan& p) { lane(p, 0, 1)[0].waits.clear(); }); },
       {"race, out of place", "scratch[0] of rank 0", "lane 0 step 0 writes extent 0",
        "lane 1 step 0 reads extent 0"}},
      {Judge::kSeesIt,
       "RaceInPlaceOnly",
       [] {
         Plan p = two_lane_reduce();  // lane 0 writes the output, which in place is the input that
                                      // lane 1 reads
         lane(p, 0, 0) = {step({out(0)}, {peer(1)}, 0)};
         lane(p, 0, 1) = {step({scratch(0)}, {in_pre(0)}, 0),
                          step({out(0)}, {scratch(0), out(0)}, 0, true, {{0, 0}})};
         return p;
       },
       {"race, in place", "rank 0"}},
      {Judge::kSeesIt,
       "OrderedByAnotherExtentOnly",
       ordered_by_another_extent_only,
       {"race", "scratch[0] of rank 0"}},
      {Judge::kSeesIt,
       "OverwritesInputInPlace",
       [] {
         Plan p = two_lane_reduce();
         p.ranks[0].lanes.pop_back();
         lane(p, 0) = {step({out(0)}, {peer(1)}, 0), step({out(0)}, {out(0), in_pre(0)}, 0, true)};
         return p;
       },
       {"exactly once, in place", "rank 0 lane 0 step 1",
        "expected pre on the unscaled input of rank 0"}},
      {Judge::kCannotTell,
       "InPlaceComputesOtherwise",
       [] {
         Plan p = chain_broadcast(2);  // a value that nobody uses differs by mode: still refused
         p.shape.collective = Collective::kAllReduce;
         p.ranks[0].scratch_chunks = p.ranks[1].scratch_chunks = 1;
         for (int32_t r : {0, 1})
           lane(p, r) = {step({peer(1 - r)}, {in_pre(0)}, 0),
                         step({out(0)}, {in_pre(0), peer(1 - r)}, 0, true),
                         step({scratch(0)}, {in(0)}, 0)};
         return p;
       },
       {"exactly once, in place", "lane 0 step 2", "same result as out of place"}},
      {Judge::kSeesIt,
       "ScratchNotInitialised",
       [] {
         return broken(two_lane_reduce(), [](Plan& p) {
           lane(p, 0, 0)[0].sinks[0].index = 1;
           p.ranks[0].scratch_chunks = 2;
         });
       },
       {"exactly once", "rank 0 lane 1 step 0", "expected scratch[0] initialised",
        "nothing written"}},
      {Judge::kSeesIt,
       "ScratchHoldsAnotherExtent",
       [] {
         Plan p = empty_plan(Collective::kBroadcast, 1, 2);
         p.ranks[0].scratch_chunks = 1;
         lane(p, 0) = {step({scratch(0)}, {in(0)}, 0), step({out(1)}, {scratch(0)}, 1),
                       step({out(0)}, {in(0)}, 0)};
         return p;
       },
       {"exactly once", "rank 0 lane 0 step 1", "expected extent 1", "got extent 0"}},
      {Judge::kSeesIt,
       "OutputNotWritten",
       [] {
         return broken(direct_all_gather(3), [](Plan& p) {
           lane(p, 1, 0)[0].sinks.erase(lane(p, 1, 0)[0].sinks.begin());
         });
       },
       {"exactly once, out of place", "rank 1 output[1]", "nothing written"}},
      {Judge::kSeesIt,
       "CountedTwice",
       [] {
         return broken(doubling_all_reduce(),
                       [](Plan& p) { lane(p, 0)[2].sources.push_back(in_pre(0)); });
       },
       {"exactly once", "rank 0 lane 0 step 2", "rank 0 counted twice"}},
      {Judge::kSeesIt,
       "RankMissing",
       [] {
         return broken(swap_all_reduce(), [](Plan& p) {
           lane(p, 0)[1].sources.erase(lane(p, 0)[1].sources.begin());
           lane(p, 0)[1].post = false;
         });
       },
       {"exactly once", "rank 0 output[0]", "{0-1} scaled with post",
        "got extent 0 of ranks {1} scaled"}},
      {Judge::kSeesIt,
       "PreMissing",
       [] {
         return broken(swap_all_reduce(), [](Plan& p) { lane(p, 0)[0].sources[0].pre = false; });
       },
       {"exactly once", "rank 1 lane 0 step 1", "scaled by pre", "{0} unscaled"}},
      {Judge::kSeesIt,
       "PreTwice",
       [] {
         return broken(doubling_all_reduce(), [](Plan& p) { lane(p, 1)[1].sources[0].pre = true; });
       },
       {"exactly once", "rank 1 lane 0 step 1", "pre on output[0]", "{1} scaled"}},
      {Judge::kSeesIt,
       "PreByAnotherRank",
       [] {
         return broken(swap_all_reduce(), [](Plan& p) {
           lane(p, 0)[0].sources[0].pre = false;
           lane(p, 1)[1].sources[1].pre = true;
         });
       },
       {"rank 1 lane 0 step 1"}},
      {Judge::kSeesIt,
       "PostMissing",
       [] { return broken(swap_all_reduce(), [](Plan& p) { lane(p, 1)[1].post = false; }); },
       {"exactly once", "rank 1 output[0]", "with post, got"}},
      {Judge::kSeesIt,
       "PostOnPartialSum",
       [] { return broken(swap_all_reduce(), [](Plan& p) { lane(p, 1)[0].post = true; }); },
       {"exactly once", "rank 1 lane 0 step 0", "post once, on the complete sum"}},
      {Judge::kSeesIt,
       "PostTwice",
       [] {
         return broken(swap_all_reduce(),
                       [](Plan& p) { lane(p, 0).push_back(step({out(0)}, {out(0)}, 0, true)); });
       },
       {"exactly once", "rank 0 lane 0 step 2", "with post"}},
      {Judge::kSeesIt,
       "CopyingCollectiveReduces",
       [] {
         return broken(chain_broadcast(2),
                       [](Plan& p) { lane(p, 0)[0].sources.push_back(out(0)); });
       },
       {"exactly once", "rank 0 lane 0 step 0", "broadcast copies"}},
      {Judge::kSeesIt,
       "CopyingCollectiveScales",
       [] {
         return broken(chain_broadcast(2), [](Plan& p) { lane(p, 0)[0].sources[0].pre = true; });
       },
       {"exactly once", "rank 0 lane 0 step 0", "no pre"}},
      {Judge::kSeesIt,
       "CopyingCollectivePosts",
       [] { return broken(chain_broadcast(2), [](Plan& p) { lane(p, 1)[0].post = true; }); },
       {"exactly once", "rank 1 lane 0 step 0", "no post"}},
      {Judge::kSeesIt,
       "BarrierLetsOneThrough",
       [] {
         return broken(dissemination_barrier(4), [](Plan& p) {
           for (int32_t r = 0; r < 4; ++r) lane(p, r).resize(2);
         });
       },
       {"barrier", "rank 0", "{0, 3}"}},
  };
}

TEST(Verifier_BrokenPlans, AreRejectedWithAReason) {
  for (const BrokenCase& row : broken_cases()) {
    SCOPED_TRACE(row.name);
    const Verdict verdict = verify(row.make());
    EXPECT_FALSE(verdict.accepted);
    EXPECT_NE(verdict.reason, "");
    for (const char* fragment : row.reason) EXPECT_THAT(verdict.reason, HasSubstr(fragment));
    EXPECT_EQ(verdict.reason, verify(row.make()).reason);
  }
}

// The tests' own judge must see what is wrong with every plan that it can run.
TEST(BruteForce_BrokenPlans, AreSeenToBeWrong) {
  for (const BrokenCase& row : broken_cases()) {
    SCOPED_TRACE(row.name);
    if (row.judge == Judge::kCannotTell) continue;
    EXPECT_NE(brute_force(row.make()), "");
  }
}

// ---- what an accepted plan's verdict says ----

TEST(Verifier_Slots, SmallestNumberIsFound) {
  Plan plan = empty_plan(Collective::kAllReduce, 2, 5);
  for (int32_t r : {0, 1}) {
    for (int32_t c = 0; c < 5; ++c) lane(plan, r).push_back(step({peer(1 - r)}, {in_pre(c)}, c));
    for (int32_t c = 0; c < 5; ++c)
      lane(plan, r).push_back(step({out(c)}, {peer(1 - r), in_pre(c)}, c, true));
  }
  for (const int32_t slots : {5, 6, 64, INT32_MAX}) {
    plan.slots = slots;
    const Verdict verdict = verify(plan);
    ASSERT_TRUE(verdict.accepted) << verdict.reason;
    EXPECT_EQ(verdict.min_slots, 5);
    ASSERT_EQ(verdict.connections.size(), 2U);
    EXPECT_EQ(verdict.connections[0].slots_needed, 5);
    EXPECT_EQ(verdict.connections[0].messages_per_tile, 5);
  }
}

struct ReferenceCase {
  const char* name;
  Plan plan;
  bool out_of_place, in_place;  // of every connection
};

// Rank 0 sends its output, then overwrites it once rank 1 has (or has not) answered with the same
// extent.
Plan overwrites_after(bool answer) {
  Plan plan = empty_plan(Collective::kBroadcast, 2, 1);
  lane(plan, 0) = {step({out(0)}, {in(0)}, 0), step({peer(1)}, {out(0)}, 0)};
  if (answer) lane(plan, 0).push_back(await(1));
  lane(plan, 0).push_back(step({out(0)}, {in(0)}, 0));
  lane(plan, 1) = {step({out(0)}, {peer(0)}, 0)};
  if (answer) lane(plan, 1).push_back(signal(0));
  return plan;
}

// Rank 0 sends from scratch and reuses it at once.
Plan reuses_scratch() {
  Plan plan = empty_plan(Collective::kBroadcast, 2, 2);
  plan.ranks[0].scratch_chunks = 1;
  for (const int32_t c : {0, 1}) {
    lane(plan, 0).push_back(step({scratch(0), out(c)}, {in(c)}, c));
    lane(plan, 0).push_back(step({peer(1)}, {scratch(0)}, c));
    lane(plan, 1).push_back(step({out(c)}, {peer(0)}, c));
  }
  return plan;
}

TEST(Verifier_References, AreSafeOnlyWhereTheSourceLasts) {
  const std::vector<ReferenceCase> cases = {
      {"inputs last out of place", direct_all_gather(4), true, true},
      {"in place the answer overwrites the input", swap_all_reduce(), true, false},
      {"doubling overwrites what it sent", doubling_all_reduce(), false, false},
      {"a ring's sums come back before they are overwritten", ring_all_reduce(4), true, true},
      {"an answer orders the overwriting", overwrites_after(true), true, true},
      // In place the copies are of a chunk onto itself, which changes nothing.
      {"without an answer", overwrites_after(false), false, true},
      {"scratch travels as bytes", reuses_scratch(), true, true},
  };
  for (const ReferenceCase& row : cases) {
    SCOPED_TRACE(row.name);
    const Verdict verdict = verify(row.plan);
    ASSERT_TRUE(verdict.accepted) << verdict.reason;
    for (const ConnectionVerdict& c : verdict.connections) {
      EXPECT_EQ(c.reference_safe_out_of_place, row.out_of_place)
          << c.source_rank << "->" << c.sink_rank;
      EXPECT_EQ(c.reference_safe_in_place, row.in_place) << c.source_rank << "->" << c.sink_rank;
    }
  }
}

TEST(Verifier_References, ConnectionsOfOneMulticastAreJudgedApart) {
  // Rank 0 sends one chunk to both peers; only rank 1 answers before it changes.
  Plan plan = empty_plan(Collective::kBroadcast, 3, 1);
  lane(plan, 0) = {step({out(0)}, {in(0)}, 0), step({peer(1), peer(2)}, {out(0)}, 0), await(1),
                   step({out(0)}, {in(0)}, 0)};
  lane(plan, 1) = {step({out(0)}, {peer(0)}, 0), signal(0)};
  lane(plan, 2) = {step({out(0)}, {peer(0)}, 0)};
  const Verdict verdict = verify(plan);
  ASSERT_TRUE(verdict.accepted) << verdict.reason;
  ASSERT_EQ(verdict.connections.size(), 3U);  // 0->1, 0->2, 1->0
  EXPECT_TRUE(verdict.connections[0].reference_safe_out_of_place);
  EXPECT_FALSE(verdict.connections[1].reference_safe_out_of_place);
}

TEST(BruteForce_UnsafeReference, GivesAWrongResult) {
  Verdict all_safe = verify(doubling_all_reduce());
  for (ConnectionVerdict& c : all_safe.connections)
    c.reference_safe_out_of_place = c.reference_safe_in_place = true;
  EXPECT_NE(brute_force(doubling_all_reduce(), &all_safe), "");
}

// Ranks pass a sum along, 0 -> 1 -> ... -> n-1, where `post` is applied in a step of its own or
// not.
Plan chain_reduce(int32_t n, bool own_post) {
  Plan plan = empty_plan(Collective::kReduce, n, 1);
  plan.shape.root = n - 1;
  lane(plan, 0) = {step({peer(1)}, {in_pre(0)}, 0)};
  for (int32_t r = 1; r < n; ++r) {
    const bool last = r == n - 1;
    lane(plan,
         r) = {step({last ? out(0) : peer(r + 1)}, {peer(r - 1), in_pre(0)}, 0, last && !own_post)};
  }
  if (own_post) lane(plan, n - 1).push_back(step({out(0)}, {out(0)}, 0, true));
  return plan;
}

// Ranks 1 and 2 send to rank 0, which folds in this order.
Plan fold_at_root(const Operands& sources) {
  Plan plan = empty_plan(Collective::kReduce, 3, 1);
  lane(plan, 0) = {step({out(0)}, sources, 0, true)};
  for (const int32_t r : {1, 2}) lane(plan, r) = {step({peer(0)}, {in_pre(0)}, 0)};
  return plan;
}

TEST(Verifier_FoldOrder, IsWhatThePlanDoes) {
  struct Case {
    const char* name;
    Plan plan;
    FoldOrder order;
  };
  Plan nested = fold_at_root({in_pre(0), peer(1), peer(2)});  // 0 + (1 + 2)
  nested.ranks[0].scratch_chunks = 1;
  lane(nested, 0) = {step({scratch(0)}, {peer(1), peer(2)}, 0),
                     step({out(0)}, {in_pre(0), scratch(0)}, 0, true)};
  Plan stored = nested;  // (0 + 1), stored, + 2
  lane(stored, 0) = {step({scratch(0)}, {in_pre(0), peer(1)}, 0),
                     step({out(0)}, {scratch(0), peer(2)}, 0, true)};
  Plan kept = nested;  // a contribution that is stored is rounded anyhow
  lane(kept, 0) = {step({scratch(0)}, {in_pre(0)}, 0),
                   step({out(0)}, {scratch(0), peer(1), peer(2)}, 0, true)};
  Plan copied = kept;  // and so is a result
  copied.ranks[0].scratch_chunks = 2;
  lane(copied, 0)[1].sinks = {scratch(1)};
  lane(copied, 0).push_back(step({out(0)}, {scratch(1)}, 0));
  const std::vector<Case> cases = {
      {"all in one step", fold_at_root({in_pre(0), peer(1), peer(2)}), FoldOrder::kInOrderOnce},
      {"own last", fold_at_root({peer(1), peer(2), in_pre(0)}), FoldOrder::kAny},
      // IEEE addition of two would not notice; the proof does not depend on it.
      {"first two swapped", fold_at_root({peer(1), in_pre(0), peer(2)}), FoldOrder::kAny},
      {"last two swapped", fold_at_root({in_pre(0), peer(2), peer(1)}), FoldOrder::kAny},
      {"nested to the right", nested, FoldOrder::kAny},
      {"nested to the left", stored, FoldOrder::kInOrder},
      {"contribution kept first", kept, FoldOrder::kInOrderOnce},
      {"result copied", copied, FoldOrder::kInOrderOnce},
      {"chain of two", chain_reduce(2, false), FoldOrder::kInOrderOnce},
      {"chain", chain_reduce(4, false), FoldOrder::kInOrder},
      {"post apart", chain_reduce(2, true), FoldOrder::kInOrder},
      {"each rank its own first", swap_all_reduce(), FoldOrder::kAny},
      {"ring", ring_all_reduce(4), FoldOrder::kAny},
      {"copies only", direct_all_gather(4), FoldOrder::kInOrderOnce},
      {"barrier", dissemination_barrier(3), FoldOrder::kInOrderOnce},
  };
  for (const Case& c : cases) {
    const Verdict verdict = verify(c.plan);
    ASSERT_TRUE(verdict.accepted) << c.name << ": " << verdict.reason;
    EXPECT_STREQ(name(verdict.fold_order), name(c.order)) << c.name;
  }
}

// What the executor could not count or hold.
TEST(Verifier_Size, BeyondTheExecutorsCounts_IsRefused) {
  const auto refused = [](const Plan& plan, const char* fragment) {
    const Verdict verdict = verify(plan);
    EXPECT_FALSE(verdict.accepted);
    EXPECT_NE(verdict.reason.find(fragment), std::string::npos) << verdict.reason;
  };
  Plan overflow = two_lane_reduce();  // 2^18 chunks of 2^16 bytes, 2^30 times: 2^64
  overflow.ranks[0].scratch_chunks = 1 << 18;
  overflow.tiles_in_flight = 1 << 30;
  refused(overflow, "rank 0: expected at most 16777216 scratch chunks over all tiles in flight");

  constexpr int32_t kMany = UINT16_MAX + 1;
  Plan wide = empty_plan(Collective::kBroadcast, 1, 1);
  wide.ranks[0].scratch_chunks = kMany;
  Operands sinks;
  for (int32_t i = 0; i < kMany; ++i) sinks.push_back(scratch(i));
  lane(wide, 0) = {step({out(0)}, {in(0)}, 0), step(sinks, {in(0)}, 0)};
  refused(wide, "rank 0 lane 0 step 1: expected at most 65535 sinks, got 65536");

  Plan connected = empty_plan(Collective::kBarrier, 2, 0);
  connected.channels = kMany;
  for (int32_t channel = 0; channel < kMany; ++channel)
    for (const int32_t r : {0, 1}) {
      lane(connected, r).push_back(step({Operand::peer(1 - r, channel)}, {}, plan::kNoExtent));
      lane(connected, r).push_back(step({}, {Operand::peer(1 - r, channel)}, plan::kNoExtent));
    }
  refused(connected, "more than 65535 connections to others");
}

TEST(Verifier_LargePlans, AreFast) {
  // 64-rank ring, and 16 ranks with a lane per peer and direction. Bounds leave room for a debug or
  // sanitizer build.
  Plan lanes = empty_plan(Collective::kAllToAll, 16, 1, 31);
  for (int32_t r = 0; r < 16; ++r) {
    lane(lanes, r, 30) = {step({out(r)}, {in(r)}, r * 16 + r)};
    for (int32_t d = 1; d < 16; ++d) {
      lane(lanes, r,
           d - 1) = {step({peer((r + d) % 16)}, {in((r + d) % 16)}, r * 16 + (r + d) % 16)};
      const int32_t from = (r + 16 - d) % 16;
      lane(lanes, r, 14 + d) = {step({out(from)}, {peer(from)}, from * 16 + r)};
    }
  }
  const Plan ring = ring_all_reduce(64);
  for (const Plan* plan : {&std::as_const(lanes), &ring}) {
    const int64_t start = now_ns();
    const Verdict verdict = verify(*plan);
    const int64_t elapsed = now_ns() - start;
    EXPECT_TRUE(verdict.accepted) << verdict.reason;
    EXPECT_LT(elapsed, (plan == &ring ? 20 : 5) * kNsPerSecond);
    RecordProperty(plan == &ring ? "ring_us" : "all_to_all_us",
                   static_cast<int>(elapsed / kNsPerUs));
  }
}

}  // namespace
}  // namespace tutti::verify
