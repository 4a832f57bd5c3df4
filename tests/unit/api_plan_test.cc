// SPDX-License-Identifier: Apache-2.0
// A plan that the user gives: TUTTI_PLAN_FILE.
#include <cstdlib>
#include <fstream>

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

}  // namespace
}  // namespace tutti::testing
