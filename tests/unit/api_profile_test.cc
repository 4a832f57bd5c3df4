// SPDX-License-Identifier: Apache-2.0
// A profile in a communicator of several ranks: rank 0's counts, whatever the others have.
#include <cstdlib>
#include <fstream>
#include <string>

#include "src/base/machine.h"
#include "tests/unit/api_support.h"

namespace tutti::testing {
namespace {

// Says that `best` is by far the fastest AllReduce of two ranks, on any number of cores.
std::string profile_for(const std::string& best, const Machine& machine) {
  std::string curves;
  for (const char* algorithm :
       {"one_shot", "two_shot", "ring", "tree", "halving_doubling", "recursive_doubling"}) {
    for (const char* cores : {"1", "2"}) {
      curves += std::string(curves.empty() ? "" : ",") +
                R"({"collective": "all_reduce", "algorithm": ")" + algorithm +
                R"(", "ranks": 2, "cores": )" + cores + R"(, "bytes": [8], "ns": [)" +
                (algorithm == best ? "1" : "1000") + "]}";
    }
  }
  return R"({"format": "tutti-profile-1", "machine": {"cpu": ")" + machine.cpu +
         R"(", "cores": ")" + machine.cores + R"(", "caches": ")" + machine.caches +
         R"(", "pages": ")" + machine.pages +
         R"("}, "parameters": {"l2_bytes": 524288, "l3_bytes": 33554432, "call_ns": 40,
            "hop_ns": 100, "message_ns": 50, "switch_ns": 2500,
            "write_ns_per_byte": [0.1, 0.1, 0.1], "read_ns_per_byte": [0.1, 0.1, 0.1]},
            "tunings": [], "curves": [)" +
         curves + "]}";
}

class GivenProfile : public ::testing::Test {
 protected:
  void give(const std::string& text) {
    std::ofstream(path_) << text;
    ::setenv("TUTTI_PROFILE", path_.c_str(), 1);
  }
  ~GivenProfile() override {
    ::unsetenv("TUTTI_PROFILE");
    ::unlink(path_.c_str());
  }
  const std::string path_ =
      ::testing::TempDir() + "given_profile_" + std::to_string(::getpid()) + ".json";
};

std::string algorithm_of(tuttiComm_t comm) {
  tuttiCommStats_t stats = TUTTI_COMM_STATS_INITIALIZER;
  EXPECT_TUTTI(tuttiCommGetStats(comm, &stats));
  return stats.lastAlgorithm;
}

void all_reduce(World& world) {
  world.each([](int rank, tuttiComm_t comm) {
    int mine = rank + 1, sum = 0;
    EXPECT_TUTTI(tuttiAllReduce(&mine, &sum, 1, tuttiInt32, tuttiSum, comm, nullptr));
    EXPECT_EQ(sum, 3);
  });
}

TEST_F(GivenProfile, AllRanks_ChooseByIt) {
  for (const char* best : {"tree", "ring", "recursive_doubling"}) {
    give(profile_for(best, this_machine()));
    World world(2);
    all_reduce(world);
    EXPECT_EQ(algorithm_of(world[0]), best);
    EXPECT_EQ(algorithm_of(world[1]), best);
  }
}

TEST_F(GivenProfile, None_DoesWithout) {
  ::setenv("TUTTI_PROFILE", "none", 1);
  World world(2);
  all_reduce(world);
  EXPECT_EQ(algorithm_of(world[0]), "one_shot");
}

TEST_F(GivenProfile, OfAnotherMachine_IsRefusedWhenACommunicatorIsMade) {
  Machine other = this_machine();
  other.cpu = "another";
  for (const std::string& text : {profile_for("tree", other), std::string("{\"format\": 1}")}) {
    give(text);
    tuttiComm_t comm = nullptr;
    tuttiUniqueId id;
    EXPECT_TUTTI(tuttiGetUniqueId(&id));
    EXPECT_EQ(tuttiCommInitRank(&comm, 1, id, 0), tuttiInvalidArgument);
    EXPECT_NE(std::string(tuttiGetLastError(nullptr)).find("can't be used"), std::string::npos);
  }
}

}  // namespace
}  // namespace tutti::testing
