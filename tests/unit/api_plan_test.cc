// SPDX-License-Identifier: Apache-2.0
// A plan that the user gives (TUTTI_PLAN_FILE), and what deterministic mode makes of it.
#include <cstdlib>
#include <fstream>
#include <string_view>

#include "tests/unit/api_support.h"

namespace tutti::testing {
namespace {

// Rank 0 gathers and multicasts, as no algorithm of the library does; as an MSCCL schedule for two
// ranks.
constexpr const char* kStar = R"(<algo name="star" coll="allreduce" ngpus="2" nchunksperloop="1">
<gpu id="0" i_chunks="1" o_chunks="1" s_chunks="0"><tb id="0" send="1" recv="1" chan="0">
<step s="0" type="rrcs" srcbuf="i" srcoff="0" dstbuf="o" dstoff="0" cnt="1" depid="-1" deps="-1" hasdep="0"/>
</tb></gpu>
<gpu id="1" i_chunks="1" o_chunks="1" s_chunks="0"><tb id="0" send="0" recv="0" chan="0">
<step s="0" type="s" srcbuf="i" srcoff="0" dstbuf="o" dstoff="0" cnt="1" depid="-1" deps="-1" hasdep="0"/>
<step s="1" type="r" srcbuf="i" srcoff="0" dstbuf="o" dstoff="0" cnt="1" depid="-1" deps="-1" hasdep="0"/>
</tb></gpu>
</algo>)";

class GivenPlan : public ::testing::Test {
 protected:
  void give(const std::string& text) {
    std::ofstream(path_) << text;
    ::setenv("TUTTI_PLAN_FILE", path_.c_str(), 1);
  }
  ~GivenPlan() override {
    ::unsetenv("TUTTI_PLAN_FILE");
    ::unlink(path_.c_str());
  }
  const std::string path_ =
      ::testing::TempDir() + "given_plan_" + std::to_string(::getpid()) + ".xml";
};

std::string algorithm_of(tuttiComm_t comm) {
  tuttiCommStats_t stats = TUTTI_COMM_STATS_INITIALIZER;
  EXPECT_TUTTI(tuttiCommGetStats(comm, &stats));
  return stats.lastAlgorithm;
}

void all_reduce(World& world) {
  world.each([&](int rank, tuttiComm_t comm) {
    for (const size_t count : {1u, 1000u, 300000u}) {
      std::vector<int> in(count), out(count);
      for (size_t i = 0; i < count; ++i) in[i] = value(rank, i);
      EXPECT_TUTTI(
          tuttiAllReduce(in.data(), out.data(), count, tuttiInt32, tuttiSum, comm, nullptr));
      int wrong = 0;
      for (size_t i = 0; i < count; ++i) {
        int sum = 0;
        for (int r = 0; r < world.size(); ++r) sum += value(r, i);
        wrong += out[i] != sum;
      }
      EXPECT_EQ(wrong, 0);
    }
  });
}

TEST_F(GivenPlan, CallsThatItFits_UseIt) {
  give(kStar);
  World world(2);
  all_reduce(world);
  EXPECT_EQ(algorithm_of(world[0]), "star");
  EXPECT_EQ(algorithm_of(world[1]), "star");
  world.each([](int, tuttiComm_t comm) {
    int x = 1, all[2] = {};
    EXPECT_TUTTI(tuttiAllGather(&x, all, 1, tuttiInt32, comm, nullptr));
  });
  EXPECT_NE(algorithm_of(world[0]), "star");
}

TEST_F(GivenPlan, OtherNumberOfRanks_ChoosesFreely) {
  give(kStar);
  World world(3);
  all_reduce(world);
  EXPECT_NE(algorithm_of(world[0]), "star");
}

TEST_F(GivenPlan, WrongOnes_AreRefusedWhenACommunicatorIsMade) {
  tuttiComm_t comms[2] = {};
  const auto refused = [&](const std::vector<std::string>& fragments) {
    expect_error(tuttiCommInitAll(comms, 2, nullptr), tuttiInvalidArgument, fragments);
  };
  std::string twice = kStar;  // rank 0 copies its input instead of adding it
  twice.replace(twice.find("rrcs"), 4, "rcs");
  give(twice);
  refused({path_, "the verifier rejects", "rank 0"});
  give("{}");
  refused({path_, "format"});
  ::setenv("TUTTI_PLAN_FILE", "/nowhere/plan.json", 1);
  refused({"/nowhere/plan.json", "TUTTI_PLAN_FILE"});
}

// Ranks 0, 1 and 2 pass a sum along, which is stored in between; rank 2's result goes back.
std::string chain_of_three(const char* first_sum) {
  constexpr const char* kPlan = R"json({
"format": "tutti-plan-1", "algorithm": "chain012", "collective": "all_reduce", "n_ranks": 3,
"root": 0, "chunks_per_block": 1, "channels": 1, "slots": 4, "tiles_in_flight": 2, "ranks": [
{"scratch_chunks": 0, "lanes": [[
  {"sinks": ["peer 1"], "sources": ["pre(input[0])"], "extent": 0},
  {"sinks": ["output[0]"], "sources": ["peer 2"], "extent": 0}]]},
{"scratch_chunks": 0, "lanes": [[
  {"sinks": ["peer 2"], "sources": [FIRST_SUM], "extent": 0},
  {"sinks": ["output[0]"], "sources": ["peer 2"], "extent": 0}]]},
{"scratch_chunks": 0, "lanes": [[
  {"sinks": ["output[0]", "peer 0", "peer 1"], "sources": ["peer 1", "pre(input[0])"],
   "extent": 0, "post": true}]]}]})json";
  constexpr std::string_view kPlace = "FIRST_SUM";
  std::string text = kPlan;
  return text.replace(text.find(kPlace), kPlace.size(), first_sum);
}

class DeterministicMode : public GivenPlan {
 protected:
  DeterministicMode() { ::setenv("TUTTI_DETERMINISTIC", "1", 1); }
  ~DeterministicMode() override {
    ::unsetenv("TUTTI_DETERMINISTIC");
    ::unsetenv("TUTTI_ALGO");
  }
};

TEST_F(DeterministicMode, PlanInRankOrder_IsForTypesThatLoseNothingBetween) {
  give(chain_of_three(R"json("peer 0", "pre(input[0])")json"));
  World world(3);
  all_reduce(world);
  EXPECT_EQ(algorithm_of(world[2]), "chain012");
  world.each([](int rank, tuttiComm_t comm) {
    double y = rank;
    EXPECT_TUTTI(tuttiAllReduce(&y, &y, 1, tuttiFloat64, tuttiSum, comm, nullptr));
    EXPECT_EQ(y, 3);
    uint16_t x = 0;
    expect_error(tuttiAllReduce(&x, &x, 1, tuttiBfloat16, tuttiSum, comm, nullptr),
                 tuttiInvalidArgument,
                 {"deterministic mode", "'chain012'", "ranks 0 to 2 in rank order,",
                  "rank order in one step", "TUTTI_PLAN_FILE"});
  });
}

TEST_F(DeterministicMode, PlanInAnotherOrder_IsRefusedWhenACommunicatorIsMade) {
  give(chain_of_three(R"json("pre(input[0])", "peer 0")json"));
  tuttiComm_t comms[3] = {};
  expect_error(tuttiCommInitAll(comms, 3, nullptr), tuttiInvalidArgument,
               {"deterministic mode", "TUTTI_DETERMINISTIC", "'chain012'", "any order",
                "unset TUTTI_PLAN_FILE"});
}

TEST_F(DeterministicMode, ForcedAlgorithmThatIsNotEligible_IsRefusedOnEveryRank) {
  ::setenv("TUTTI_ALGO", "ring", 1);
  World world(4);
  world.each([](int rank, tuttiComm_t comm) {
    int x = rank, all[4] = {};
    // What only moves data may go around a ring.
    EXPECT_TUTTI(tuttiAllGather(&x, all, 1, tuttiInt32, comm, nullptr));
    EXPECT_EQ(all[3], 3);
    EXPECT_EQ(algorithm_of(comm), "ring");
    expect_error(tuttiAllReduce(&x, &x, 1, tuttiInt32, tuttiSum, comm, nullptr),
                 tuttiInvalidArgument,
                 {"deterministic mode", "ring of all_reduce", "ranks 0 to 3 in any order",
                  "choose one of one_shot, two_shot", "leave TUTTI_ALGO unset"});
  });
}

TEST_F(DeterministicMode, RankZeroDecides) {
  ::unsetenv("TUTTI_DETERMINISTIC");
  for (const int decider : {0, 1}) {
    tuttiUniqueId id;
    EXPECT_TUTTI(tuttiGetUniqueId(&id));
    std::vector<std::thread> ranks;
    for (int rank = 0; rank < 2; ++rank) {
      ranks.emplace_back([&, rank] {
        tuttiConfig_t config = TUTTI_CONFIG_INITIALIZER;
        config.algorithm = "ring";
        config.deterministic = rank == decider ? 1 : TUTTI_CONFIG_UNDEF_INT;
        tuttiComm_t comm = nullptr;
        EXPECT_TUTTI(tuttiCommInitRankConfig(&comm, 2, id, rank, &config));
        tuttiComm_t part = nullptr;  // inherits the choice
        EXPECT_TUTTI(tuttiCommSplit(comm, 0, rank, &part, nullptr));
        float x = 1;
        for (tuttiComm_t c : {comm, part})
          EXPECT_EQ(tuttiAllReduce(&x, &x, 1, tuttiFloat32, tuttiSum, c, nullptr),
                    decider == 0 ? tuttiInvalidArgument : tuttiSuccess);
        EXPECT_TUTTI(tuttiCommDestroy(part));
        EXPECT_TUTTI(tuttiCommDestroy(comm));
      });
    }
    for (std::thread& rank : ranks) rank.join();
  }
}

}  // namespace
}  // namespace tutti::testing
