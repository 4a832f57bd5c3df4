// SPDX-License-Identifier: Apache-2.0
// A tuner plugin in a communicator of two ranks: rank 0's is obeyed by both, whatever the other
// has.
#include <unistd.h>

#include <cstdlib>
#include <string>
#include <vector>

#include <sys/wait.h>

#include "tests/unit/api_support.h"

namespace tutti::testing {
namespace {

constexpr size_t kSmall = 2000;  // ints; the test tuner wants the tree below 10,000 bytes
constexpr size_t kLarge = 3000;  // and the ring from there on

class GivenTuner : public ::testing::Test {
 protected:
  static void give(const std::string& plugin) {
    const std::string file = std::string(TUTTI_TEST_PLUGINS) + "/libnccl-tuner-" + plugin + ".so";
    ::setenv("TUTTI_TUNER_PLUGIN", file.c_str(), 1);
  }
  ~GivenTuner() override { ::unsetenv("TUTTI_TUNER_PLUGIN"); }
};

// The algorithm that an AllReduce of two ranks went by; checks its result.
std::string reduced_by(int rank, tuttiComm_t comm, size_t count) {
  const std::vector<int> mine(count, rank + 1);
  std::vector<int> sum(count);
  EXPECT_TUTTI(tuttiAllReduce(mine.data(), sum.data(), count, tuttiInt32, tuttiSum, comm, nullptr));
  EXPECT_EQ(sum, std::vector<int>(count, 3));
  tuttiCommStats_t stats = TUTTI_COMM_STATS_INITIALIZER;
  EXPECT_TUTTI(tuttiCommGetStats(comm, &stats));
  return stats.lastAlgorithm;
}

void expect_advice(int rank, tuttiComm_t comm) {
  EXPECT_EQ(reduced_by(rank, comm, kSmall), "tree");
  EXPECT_EQ(reduced_by(rank, comm, kLarge), "ring");
  EXPECT_EQ(reduced_by(rank, comm, kSmall), "tree");
}

TEST_F(GivenTuner, EveryVersion_IsObeyedByAllRanks) {
  for (int version = 2; version <= 6; ++version) {
    SCOPED_TRACE(version);
    give("test" + std::to_string(version));
    World world(2);
    world.each(expect_advice);
  }
}

TEST_F(GivenTuner, None_TheLibraryChoosesOtherwise) {
  World world(2);
  world.each([](int rank, tuttiComm_t comm) {
    EXPECT_NE(reduced_by(rank, comm, kSmall), "tree");
    EXPECT_NE(reduced_by(rank, comm, kLarge), "ring");
  });
}

TEST_F(GivenTuner, OfRankZeroAlone_IsObeyedByTheOther) {
  tuttiUniqueId id;
  EXPECT_TUTTI(tuttiGetUniqueId(&id));
  const auto take_part = [&](int rank) {
    tuttiComm_t comm = nullptr;
    EXPECT_TUTTI(tuttiCommInitRank(&comm, 2, id, rank));
    if (comm == nullptr) return;
    expect_advice(rank, comm);
    EXPECT_TUTTI(tuttiCommDestroy(comm));
  };
  const pid_t other = ::fork();
  ASSERT_GE(other, 0);
  if (other == 0) {
    // A tuner of its own would be asked for nothing, and this one would not even start.
    give("sick");
    take_part(1);
    ::_exit(HasFailure() ? 1 : 0);
  }
  give("test4");
  take_part(0);
  int status = 0;
  ASSERT_EQ(::waitpid(other, &status, 0), other);
  EXPECT_EQ(status, 0);
}

TEST_F(GivenTuner, ThatDoesNotStart_IsNamedWhenACommunicatorIsMade) {
  give("sick");
  tuttiUniqueId id;
  EXPECT_TUTTI(tuttiGetUniqueId(&id));
  tuttiComm_t comm = nullptr;
  expect_error(tuttiCommInitRank(&comm, 1, id, 0), tuttiInvalidArgument,
               {"libnccl-tuner-sick.so", "does not start"});
}

}  // namespace
}  // namespace tutti::testing
