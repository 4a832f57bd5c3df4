// SPDX-License-Identifier: Apache-2.0
// Launch detection from the variables of each launcher, and launch ids.
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <map>
#include <set>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "src/base/liveness.h"
#include "tests/unit/bootstrap_test_support.h"

namespace tutti::bootstrap {
namespace {

using testing::HasSubstr;
using Variables = std::map<std::string, std::string>;

// Exactly these launcher variables are set while it lives.
class Environment {
 public:
  explicit Environment(const Variables& variables) {
    for (const char* name : kKnown) {
      if (const char* value = std::getenv(name)) saved_[name] = value;
      ::unsetenv(name);
    }
    for (const auto& [name, value] : variables) ::setenv(name.c_str(), value.c_str(), 1);
  }
  ~Environment() {
    for (const char* name : kKnown) ::unsetenv(name);
    for (const auto& [name, value] : saved_) ::setenv(name.c_str(), value.c_str(), 1);
  }
  Environment(const Environment&) = delete;
  Environment& operator=(const Environment&) = delete;

 private:
  static constexpr const char* kKnown[] = {"TUTTI_RANK",
                                           "TUTTI_SIZE",
                                           "TUTTI_LOCAL_RANK",
                                           "TUTTI_LOCAL_SIZE",
                                           "TUTTI_JOB",
                                           "TUTTI_PORT",
                                           "TUTTI_KEY",
                                           "RANK",
                                           "WORLD_SIZE",
                                           "LOCAL_RANK",
                                           "LOCAL_WORLD_SIZE",
                                           "MASTER_ADDR",
                                           "MASTER_PORT",
                                           "TORCHELASTIC_RUN_ID",
                                           "TORCHELASTIC_RESTART_COUNT",
                                           "OMPI_COMM_WORLD_RANK",
                                           "OMPI_COMM_WORLD_SIZE",
                                           "OMPI_COMM_WORLD_LOCAL_RANK",
                                           "OMPI_COMM_WORLD_LOCAL_SIZE",
                                           "PMIX_NAMESPACE",
                                           "OMPI_MCA_ess_base_jobid",
                                           "OMPI_MCA_orte_hnp_uri",
                                           "PMI_RANK",
                                           "PMI_SIZE",
                                           "PMI_JOBID",
                                           "PMI_PORT",
                                           "MPI_LOCALRANKID",
                                           "MPI_LOCALNRANKS",
                                           "SLURM_PROCID",
                                           "SLURM_NTASKS",
                                           "SLURM_LOCALID",
                                           "SLURM_JOB_ID",
                                           "SLURM_STEP_ID",
                                           "SLURM_STEP_NUM_TASKS",
                                           "SLURM_STEP_TASKS_PER_NODE",
                                           "SLURM_NODEID",
                                           "JOB_COMPLETION_INDEX",
                                           "KUBERNETES_SERVICE_HOST",
                                           "TUTTI_KEY_FILE",
                                           "TUTTI_SERVICE",
                                           "TUTTI_INIT_TIMEOUT",
                                           "PMIX_RANK",
                                           "PMI_FD"};
  Variables saved_;
};

const Variables kTutti = {{"TUTTI_RANK", "2"}, {"TUTTI_SIZE", "4"}, {"TUTTI_JOB", "abc"}};
const Variables kTorchrun = {{"RANK", "5"},
                             {"WORLD_SIZE", "8"},
                             {"LOCAL_RANK", "1"},
                             {"LOCAL_WORLD_SIZE", "4"},
                             {"MASTER_ADDR", "192.0.2.1"},
                             {"MASTER_PORT", "29500"},
                             {"TORCHELASTIC_RUN_ID", "none"}};
const Variables kByHand = {
    {"RANK", "1"}, {"WORLD_SIZE", "2"}, {"MASTER_ADDR", "localhost"}, {"MASTER_PORT", "29500"}};
const Variables kByHandFar = {
    {"RANK", "1"}, {"WORLD_SIZE", "2"}, {"MASTER_ADDR", "far"}, {"MASTER_PORT", "29500"}};
const Variables kOpenMpi = {
    {"OMPI_COMM_WORLD_RANK", "1"},       {"OMPI_COMM_WORLD_SIZE", "2"},
    {"OMPI_COMM_WORLD_LOCAL_RANK", "0"}, {"OMPI_COMM_WORLD_LOCAL_SIZE", "1"},
    {"PMIX_NAMESPACE", "1982857217"},    {"OMPI_MCA_orte_hnp_uri", "7.0;tcp://192.0.2.2:1"}};
const Variables kHydra = {{"PMI_RANK", "1"},
                          {"PMI_SIZE", "2"},
                          {"MPI_LOCALRANKID", "1"},
                          {"MPI_LOCALNRANKS", "2"},
                          {"PMI_FD", "8"}};
const Variables kPmiPort = {{"PMI_RANK", "0"}, {"PMI_SIZE", "2"}, {"PMI_PORT", "host:4711"}};
const Variables kSlurm = {{"SLURM_PROCID", "5"},  {"SLURM_NTASKS", "7"},
                          {"SLURM_LOCALID", "1"}, {"SLURM_JOB_ID", "12"},
                          {"SLURM_STEP_ID", "3"}, {"SLURM_STEP_TASKS_PER_NODE", "2(x2),3"},
                          {"SLURM_NODEID", "2"}};

const Variables kPod = {{"JOB_COMPLETION_INDEX", "2"}, {"TUTTI_SIZE", "3"}};

Variables with(Variables base, const Variables& more) {
  for (const auto& [name, value] : more) base[name] = value;
  return base;
}
Variables without(Variables base, const std::string& name) {
  base.erase(name);
  return base;
}

struct Expected {
  Variables variables;
  std::string launcher;
  int rank, size, local_rank, local_size;
  std::string job;  // "*": anything but empty
};

TEST(DetectLaunch_EachLauncher, IsUnderstood) {
  const Expected table[] = {
      {kTutti, "tutti", 2, 4, 2, 4, "abc"},
      {with(kTutti, {{"TUTTI_LOCAL_RANK", "0"}, {"TUTTI_LOCAL_SIZE", "2"}}), "tutti", 2, 4, 0, 2,
       "abc"},
      {kTorchrun, "torchrun", 5, 8, 1, 4, "none//192.0.2.1/29500"},
      {kByHand, "torchrun", 1, 2, 1, 2, "*"},
      {kByHandFar, "torchrun", 1, 2, 0, 1, "*"},
      {kOpenMpi, "openmpi", 1, 2, 0, 1, "19828572177.0;tcp://192.0.2.2:1"},
      {kHydra, "pmi", 1, 2, 1, 2, "*"},
      {kPmiPort, "pmi", 0, 2, 0, 2, "host:4711"},
      {kSlurm, "slurm", 5, 7, 1, 3, "12.3"},
      {kPod, "kubernetes", 2, 3, 0, 1, "*"},
      {{{"JOB_COMPLETION_INDEX", "0"}, {"WORLD_SIZE", "2"}}, "kubernetes", 0, 2, 0, 1, "*"},
      {with(kPod, {{"TUTTI_RANK", "1"}}), "tutti", 1, 3, 1, 3, ""},
      // The master's pod of a PyTorchJob.
      {with(kByHand, {{"KUBERNETES_SERVICE_HOST", "10.0.0.1"}}), "torchrun", 1, 2, 0, 1, "*"},
      // The first in order wins.
      {with(kTutti, kTorchrun), "tutti", 2, 4, 1, 4, "abc"},
      {with(kOpenMpi, kSlurm), "openmpi", 1, 2, 0, 1, "*"},
      // Hydra inside Slurm, and Slurm's own PMI.
      {with(kHydra, kSlurm), "pmi", 1, 2, 1, 2, "*"},
      {with(kSlurm, {{"PMI_RANK", "5"}, {"PMI_SIZE", "7"}}), "slurm", 5, 7, 1, 3, "12.3"},
  };
  int row = 0;
  for (Expected want : table) {
    SCOPED_TRACE(row++);
    if (want.launcher == "tutti" && want.variables.contains("RANK")) {
      want.local_rank = 2;
      want.local_size = 4;
    }
    const Environment environment(want.variables);
    const auto got = detect_launch();
    ASSERT_TRUE(got.has_value());
    EXPECT_EQ(got->launcher, want.launcher);
    EXPECT_EQ(got->rank, want.rank);
    EXPECT_EQ(got->size, want.size);
    EXPECT_EQ(got->local_rank, want.local_rank);
    EXPECT_EQ(got->local_size, want.local_size);
    if (want.job == "*") {
      EXPECT_NE(got->job, "");
    } else {
      EXPECT_EQ(got->job, want.job);
    }
  }
}

TEST(DetectLaunch_NoStepOfALauncher, IsNone) {
  for (const Variables& variables :
       {Variables{}, without(kPod, "TUTTI_SIZE"), without(kSlurm, "SLURM_PROCID"),
        without(kSlurm, "SLURM_STEP_ID"), with(kSlurm, {{"SLURM_STEP_ID", "4294967291"}})}) {
    const Environment environment(variables);
    EXPECT_FALSE(detect_launch().has_value());
  }
}

struct Rejected {
  Variables variables;
  std::string message;
};

TEST(DetectLaunch_HalfSetOrMalformed, NamesTheVariable) {
  const Rejected table[] = {
      {without(kTutti, "TUTTI_SIZE"), "TUTTI_RANK is set, TUTTI_SIZE is missing"},
      {without(kTutti, "TUTTI_RANK"), "TUTTI_SIZE is set, TUTTI_RANK is missing"},
      {with(kTutti, {{"TUTTI_LOCAL_RANK", "0"}}), "TUTTI_LOCAL_SIZE is missing"},
      {with(kTutti, {{"TUTTI_RANK", "two"}}), "TUTTI_RANK='two'"},
      {with(kTutti, {{"TUTTI_RANK", ""}}), "TUTTI_RANK=''"},
      {with(kTutti, {{"TUTTI_RANK", "4"}}), "rank 4 of 4"},
      {with(kTutti, {{"TUTTI_SIZE", "4294967296"}}), "TUTTI_SIZE=4294967296 is too large"},
      {without(kTorchrun, "WORLD_SIZE"), "WORLD_SIZE is missing"},
      {without(kTorchrun, "MASTER_PORT"), "MASTER_PORT is missing"},
      {without(kOpenMpi, "OMPI_COMM_WORLD_SIZE"), "OMPI_COMM_WORLD_SIZE is missing"},
      {without(kHydra, "PMI_RANK"), "PMI_RANK is missing"},
      {without(kSlurm, "SLURM_LOCALID"), "SLURM_LOCALID is missing"},
      {with(kPod, {{"JOB_COMPLETION_INDEX", "3"}}), "rank 3 of 3"},
      {with(kSlurm, {{"SLURM_STEP_TASKS_PER_NODE", "2(x2147483648),3"}}), "is too large"},
      {with(kSlurm, {{"SLURM_STEP_TASKS_PER_NODE", "4294967298(x3)"}}), "is too large"},
  };
  for (const Rejected& row : table) {
    const Environment environment(row.variables);
    const Outcome outcome = outcome_of([] { detect_launch(); });
    EXPECT_EQ(outcome.code, StatusCode::kInvalidArgument) << row.message;
    EXPECT_THAT(outcome.text, HasSubstr(row.message));
  }
}

Launch local_launch(int rank, int size) {
  return {.launcher = "tutti",
          .rank = rank,
          .size = size,
          .local_rank = rank,
          .local_size = size,
          .job = "test " + std::to_string(this_process().process_uid)};
}

TEST(LaunchUniqueId_OneHost, RanksMeetWithoutCommunication) {
  const Environment environment({});
  for (uint64_t sequence = 0; sequence < 2; ++sequence) {
    const auto outcomes = run_threads(4, [&](int rank) {
      const UniqueId id = launch_unique_id(local_launch(rank, 4), sequence);
      const auto bootstrap = Bootstrap::join(id, 4, rank, soon(), nullptr);
      EXPECT_EQ(bootstrap->all_gather(pattern(rank, 9), soon())[3], pattern(3, 9));
    });
    for (const Outcome& outcome : outcomes) EXPECT_EQ(outcome.text, "");
  }
}

TEST(LaunchUniqueId_JobAndSequence, MakeDifferentIds) {
  const Environment environment({});
  std::set<std::string> names;
  for (const char* job : {"a", "b"}) {
    for (uint64_t sequence = 0; sequence < 2; ++sequence) {
      Launch launch = local_launch(1, 2);
      launch.job = job;
      names.insert(unpack(launch_unique_id(launch, sequence)).address.to_string());
    }
  }
  EXPECT_EQ(names.size(), 4U);
}

TEST(LaunchUniqueId_SeveralHosts, MeetsOverTcpWithTheKey) {
  const Launch launch{
      .launcher = "torchrun", .rank = 1, .size = 4, .local_rank = 1, .local_size = 2, .job = "x"};
  const Environment environment(
      {{"MASTER_ADDR", "127.0.0.1"}, {"MASTER_PORT", "29500"}, {"TUTTI_KEY", "0123456789abcdef"}});
  const UniqueIdFields first = unpack(launch_unique_id(launch, 0));
  const UniqueIdFields third = unpack(launch_unique_id(launch, 2));
  EXPECT_EQ(first.address.to_string(), "127.0.0.1:29501");
  EXPECT_EQ(third.address.to_string(), "127.0.0.1:29503");
  EXPECT_NE(first.key, third.key);
  ::setenv("TUTTI_PORT", "4000", 1);
  EXPECT_EQ(unpack(launch_unique_id(launch, 2)).address.to_string(), "127.0.0.1:4002");
}

TEST(LaunchUniqueId_SecretInAFile, IsTheSameWithoutItsWhiteSpace) {
  const Launch launch{
      .launcher = "kubernetes", .rank = 1, .size = 4, .local_rank = 0, .local_size = 1, .job = "x"};
  const std::string path = testing::TempDir() + "secret" + std::to_string(this_process().pid);
  std::ofstream(path) << "  0123456789abcdef\n";
  const Environment environment({{"MASTER_ADDR", "127.0.0.1"}, {"TUTTI_KEY_FILE", path}});
  const UniqueIdFields by_file = unpack(launch_unique_id(launch, 1));
  ::setenv("TUTTI_KEY", "0123456789abcdef", 1);
  EXPECT_EQ(by_file.key, unpack(launch_unique_id(launch, 1)).key);
  EXPECT_EQ(by_file.address.to_string(), "127.0.0.1:29601") << "a pod's usual port";
  std::filesystem::remove(path);
}

TEST(LaunchUniqueId_PortGiven_RanksMeetOverTcp, OneHost) {
  const uint16_t port =
      Listener::bind(SocketAddress::parse("127.0.0.1:0"), SocketKind::kStream).address().port;
  const Environment environment({{"MASTER_ADDR", "localhost"},
                                 {"TUTTI_PORT", std::to_string(port)},
                                 {"TUTTI_KEY", "0123456789abcdef"}});
  const auto outcomes = run_threads(3, [&](int rank) {
    Bootstrap::join(launch_unique_id(local_launch(rank, 3), 0), 3, rank, soon(), nullptr);
  });
  for (const Outcome& outcome : outcomes) EXPECT_EQ(outcome.text, "");
}

TEST(LaunchUniqueId_SomethingMissing, SaysWhatToSet) {
  const Launch far{.launcher = "torchrun", .rank = 1, .size = 4, .local_size = 2, .job = "x"};
  Launch pod = far;
  pod.launcher = "kubernetes";
  Launch nameless = local_launch(1, 2);
  nameless.job.clear();
  const Variables key = {{"TUTTI_KEY", "0123456789abcdef"}, {"MASTER_ADDR", "127.0.0.1"}};
  struct Case {
    Launch launch;
    Variables variables;
    std::string message;
  };
  const Case table[] = {
      {far, {{"MASTER_ADDR", "127.0.0.1"}, {"MASTER_PORT", "29500"}}, "set TUTTI_KEY to a secret"},
      {far, with(key, {{"TUTTI_KEY", "short"}}), "at least 16 characters"},
      {far, without(key, "MASTER_ADDR"), "MASTER_ADDR to rank 0's host"},
      {far, key, "set TUTTI_PORT"},
      {far, with(key, {{"MASTER_ADDR", "no such host"}, {"TUTTI_PORT", "4000"}}),
       "MASTER_ADDR='no such host' can't be resolved"},
      {far, with(key, {{"TUTTI_PORT", "65536"}}), "TUTTI_PORT='65536' leaves no port"},
      {far, with(key, {{"TUTTI_PORT", "7x"}}), "TUTTI_PORT='7x' leaves no port"},
      {far, with(key, {{"MASTER_PORT", "65535"}}), "MASTER_PORT='65535' leaves no port"},
      {nameless, {}, "set TUTTI_JOB"},
      {far, with(key, {{"TUTTI_KEY", ""}}), "PMI_FD is not set"},
      {far, {{"TUTTI_KEY_FILE", "/no/such/file"}}, "TUTTI_KEY_FILE=/no/such/file can't be read"},
      {far, {{"TUTTI_KEY_FILE", "/dev/null"}}, "holds a secret of 0 characters"},
      {pod, without(key, "MASTER_ADDR"), "MASTER_ADDR to rank 0's host"},
      {pod, with(without(key, "MASTER_ADDR"), {{"TUTTI_SERVICE", "s"}}), "that ends with '-1'"},
  };
  for (const Case& row : table) {
    const Environment environment(row.variables);
    const Outcome outcome = outcome_of([&] { launch_unique_id(row.launch, 0); });
    EXPECT_EQ(outcome.code, StatusCode::kInvalidUsage) << row.message;
    EXPECT_THAT(outcome.text, HasSubstr(row.message));
  }
}

}  // namespace
}  // namespace tutti::bootstrap
