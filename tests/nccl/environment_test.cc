// SPDX-License-Identifier: Apache-2.0
// NCCL's environment variables: what each becomes, that it is always a value that ours accepts, and
// that the how-to's table is the code's.
#include "src/api/nccl/environment.h"

#include <algorithm>
#include <cstdlib>
#include <fstream>
#include <map>
#include <sstream>
#include <string>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "src/api/nccl/config.h"
#include "src/base/config.h"
#include "src/base/liveness.h"

namespace tutti::nccl {
namespace {

using ::testing::HasSubstr;

// Every variable of both libraries is unset before and after each test.
class NcclEnvironment : public ::testing::Test {
 protected:
  NcclEnvironment() { clear(); }
  ~NcclEnvironment() override { clear(); }
  static void clear() {
    for (const Translation& one : translations()) {
      ::unsetenv(one.ours);
      for (const char* const name : one.theirs) ::unsetenv(name);
    }
    for (const OtherVariable& other : other_variables()) ::unsetenv(other.name);
  }
  static std::string effective(const char* ours) { return foreign_variable(ours).value_or(""); }
};

struct Case {
  std::map<std::string, std::string> theirs;
  const char* ours;
  std::string expected;  // "": nothing is said
  std::string problem;   // part of it; "": none
};

const Case kCases[] = {
    {{{"NCCL_DEBUG", "INFO"}}, "TUTTI_LOG", "info", ""},
    {{{"NCCL_DEBUG", "warn"}}, "TUTTI_LOG", "warn", ""},
    {{{"NCCL_DEBUG", "VERSION"}}, "TUTTI_LOG", "", ""},
    {{{"NCCL_DEBUG", "loud"}}, "TUTTI_LOG", "", "allowed are"},
    {{{"NCCL_DEBUG_FILE", "/tmp/log.%p"}}, "TUTTI_LOG_FILE", "/tmp/log.%p", ""},
    {{{"NCCL_DEBUG_FILE", "stderr"}}, "TUTTI_LOG_FILE", "", ""},
    {{{"NCCL_SOCKET_IFNAME", "eth"}}, "TUTTI_SOCKET_IFNAME", "eth", ""},
    {{{"NCCL_SOCKET_IFNAME", "^docker,lo"}}, "TUTTI_SOCKET_IFNAME", "^docker,lo", ""},
    {{{"NCCL_SOCKET_IFNAME", "=eth0,eth1"}}, "TUTTI_SOCKET_IFNAME", "=eth0,=eth1", ""},
    {{{"NCCL_SOCKET_IFNAME", "^=eth0,eth1"}}, "TUTTI_SOCKET_IFNAME", "^=eth0,=eth1", ""},
    {{{"NCCL_SOCKET_NTHREADS", "2"}, {"NCCL_NSOCKS_PERTHREAD", "4"}}, "TUTTI_TCP_SOCKETS", "8", ""},
    {{{"NCCL_NSOCKS_PERTHREAD", "99"}}, "TUTTI_TCP_SOCKETS", "16", ""},
    {{{"NCCL_IB_HCA", "^=mlx5_3:1,mlx5_4"}}, "TUTTI_RDMA_DEVICES", "^=mlx5_3:1,=mlx5_4", ""},
    {{{"NCCL_IB_HCA", "mlx5_0,mlx5_2"}}, "TUTTI_RDMA_DEVICES", "mlx5_0,mlx5_2", ""},
    {{{"NCCL_IB_GID_INDEX", "3"}}, "TUTTI_RDMA_GID_INDEX", "3", ""},
    {{{"NCCL_IB_GID_INDEX", "-1"}}, "TUTTI_RDMA_GID_INDEX", "", ""},
    {{{"NCCL_IB_SL", "5"}}, "TUTTI_RDMA_SL", "5", ""},
    {{{"NCCL_IB_SL", "x"}}, "TUTTI_RDMA_SL", "", "no whole number"},
    {{{"NCCL_IB_TC", "106"}}, "TUTTI_RDMA_TRAFFIC_CLASS", "106", ""},
    {{{"NCCL_IB_TIMEOUT", "18"}}, "TUTTI_RDMA_TIMEOUT", "18", ""},
    {{{"NCCL_IB_TIMEOUT", "23"}}, "TUTTI_RDMA_TIMEOUT", "20", "brought to 20"},
    {{{"NCCL_IB_RETRY_CNT", "7"}}, "TUTTI_RDMA_RETRY", "6", "brought to 6"},
    {{{"NCCL_IB_QPS_PER_CONNECTION", "4"}}, "TUTTI_RDMA_QPS", "4", ""},
    {{{"NCCL_ALGO", "Ring"}}, "TUTTI_ALGO", "ring", ""},
    {{{"NCCL_ALGO", "TREE"}}, "TUTTI_ALGO", "tree", ""},
    {{{"NCCL_ALGO", "^NVLS"}}, "TUTTI_ALGO", "", "the library chooses"},
    {{{"NCCL_PROTO", "LL128"}}, "TUTTI_PROTO", "inline", ""},
    {{{"NCCL_PROTO", "Simple"}}, "TUTTI_PROTO", "", ""},
    {{{"NCCL_MIN_NCHANNELS", "4"}}, "TUTTI_CHANNELS", "4", ""},
    {{{"NCCL_MIN_NCHANNELS", "4"}, {"NCCL_MAX_NCHANNELS", "2"}}, "TUTTI_CHANNELS", "2", ""},
    {{{"NCCL_MAX_NCHANNELS", "1"}}, "TUTTI_CHANNELS", "1", ""},
    {{{"NCCL_MAX_NCHANNELS", "8"}}, "TUTTI_CHANNELS", "", ""},
    {{{"NCCL_MIN_CTAS", "99"}}, "TUTTI_CHANNELS", "64", ""},
    {{{"NCCL_NET", "Socket"}}, "TUTTI_TRANSPORT", "cuda_p2p,inproc,shm,tcp", ""},
    {{{"NCCL_NET", "IB"}}, "TUTTI_TRANSPORT", "cuda_p2p,inproc,shm,rdma", ""},
    {{{"NCCL_NET", "AWS Libfabric"}}, "TUTTI_TRANSPORT", "cuda_p2p,inproc,shm,nccl_net", ""},
    {{{"NCCL_NET", "shm,ucx"}}, "TUTTI_TRANSPORT", "shm,ucx", ""},
    {{{"NCCL_SHM_DISABLE", "1"}}, "TUTTI_TRANSPORT", "cuda_p2p,inproc,rdma,tcp", ""},
    {{{"NCCL_IB_DISABLE", "1"}}, "TUTTI_TRANSPORT", "cuda_p2p,inproc,shm,tcp", ""},
    {{{"NCCL_P2P_DISABLE", "1"}}, "TUTTI_TRANSPORT", "inproc,shm,rdma,tcp", ""},
    {{{"NCCL_IB_DISABLE", "0"}}, "TUTTI_TRANSPORT", "", ""},
    {{{"NCCL_IB_DISABLE", "1"}, {"NCCL_NET_PLUGIN", "ofi"}},
     "TUTTI_TRANSPORT",
     "cuda_p2p,inproc,shm,nccl_net,tcp",
     ""},
    {{{"NCCL_NET_PLUGIN", "ofi"}}, "TUTTI_NET_PLUGIN", "ofi", ""},
    {{{"NCCL_NET_PLUGIN", "none"}}, "TUTTI_NET_PLUGIN", "", ""},
    {{{"NCCL_TUNER_PLUGIN", "libc.so.6"}}, "TUTTI_TUNER_PLUGIN", "libc.so.6", ""},
    {{{"NCCL_TUNER_PLUGIN", "/no/such.so"}}, "TUTTI_TUNER_PLUGIN", "", "/no/such.so"},
    {{{"NCCL_BUFFSIZE", "4194304"}}, "TUTTI_SLOT_BYTES", "524288", ""},
    {{{"NCCL_BUFFSIZE", "5000000"}}, "TUTTI_SLOT_BYTES", "524288", ""},
    {{{"NCCL_BUFFSIZE", "1"}}, "TUTTI_SLOT_BYTES", "64", ""},
};

class NcclTranslation : public NcclEnvironment, public ::testing::WithParamInterface<Case> {};

TEST_P(NcclTranslation, Value_BecomesOneThatOursAccepts) {
  const Case& c = GetParam();
  for (const auto& [name, value] : c.theirs) ::setenv(name.c_str(), value.c_str(), 1);
  EXPECT_EQ(effective(c.ours), c.expected);
  EXPECT_NO_THROW((void)config_from_environment());
  for (const Translation& one : translations()) {
    if (std::string(one.ours) != c.ours) continue;
    EXPECT_EQ(one.translate().problem.empty(), c.problem.empty()) << one.translate().problem;
    EXPECT_THAT(one.translate().problem, HasSubstr(c.problem));
  }
}

TEST_P(NcclTranslation, OursIsSet_Wins) {
  const Case& c = GetParam();
  for (const auto& [name, value] : c.theirs) ::setenv(name.c_str(), value.c_str(), 1);
  ::setenv(c.ours, "7", 1);
  EXPECT_EQ(effective(c.ours), "7");
}

INSTANTIATE_TEST_SUITE_P(All, NcclTranslation, ::testing::ValuesIn(kCases));

TEST_F(NcclEnvironment, EveryTranslation_HasACase) {
  for (const Translation& one : translations()) {
    EXPECT_TRUE(std::ranges::any_of(kCases, [&](const Case& c) {
      return std::string(c.ours) == one.ours && !c.expected.empty();
    })) << one.ours;
    EXPECT_TRUE(std::ranges::any_of(config_rows(), [&](const ConfigRow& row) {
      return std::string(row.name) == one.ours;
    })) << one.ours;
  }
}

TEST_F(NcclEnvironment, LogFile_HasTheHostsName) {
  ::setenv("NCCL_DEBUG_FILE", "/tmp/%h.log", 1);
  EXPECT_EQ(effective("TUTTI_LOG_FILE"), "/tmp/" + host_name() + ".log");
}

TEST_F(NcclEnvironment, Blocking_GoesBeforeTheConfiguration) {
  EXPECT_EQ(ConfigArgument::of_new(nullptr).get(), nullptr);
  ::setenv("NCCL_COMM_BLOCKING", "0", 1);
  ConfigArgument argument = ConfigArgument::of_new(nullptr);
  ASSERT_NE(argument.get(), nullptr);
  EXPECT_EQ(argument.get()->blocking, 0);
  EXPECT_EQ(ConfigArgument::of_child(nullptr).get(), nullptr);
}

TEST_F(NcclEnvironment, Config_FieldsArriveByName) {
  ncclConfig_t config{};
  config.size = sizeof config;
  config.magic = 0xcafebeef;
  config.version = 22809;
  config.blocking = 0;
  config.cgaClusterSize = 2;
  config.minCTAs = 3;
  config.maxCTAs = 4;
  config.netName = "Socket";
  config.splitShare = 1;
  config.trafficClass = 5;
  config.commName = "world";
  config.collnetEnable = 6;
  config.CTAPolicy = 7;
  config.shrinkShare = 8;
  config.nvlsCTAs = 9;
  config.nChannelsPerNetPeer = 10;
  config.nvlinkCentricSched = 11;
  ConfigArgument argument = ConfigArgument::of_new(&config);
  const tuttiConfig_t& c = *argument.get();
  EXPECT_EQ(c.blocking, 0);
  EXPECT_EQ(c.cgaClusterSize, 2);
  EXPECT_EQ(c.minCTAs, 3);
  EXPECT_EQ(c.maxCTAs, 4);
  EXPECT_STREQ(c.netName, "cuda_p2p,inproc,shm,tcp");
  EXPECT_EQ(c.splitShare, 1);
  EXPECT_EQ(c.trafficClass, 5);
  EXPECT_STREQ(c.commName, "world");
  EXPECT_EQ(c.collnetEnable, 6);
  EXPECT_EQ(c.CTAPolicy, 7);
  EXPECT_EQ(c.shrinkShare, 8);
  EXPECT_EQ(c.nvlsCTAs, 9);
  EXPECT_EQ(c.nChannelsPerNetPeer, 10);
  EXPECT_EQ(c.nvlinkCentricSched, 11);
  config.version = 22403;  // had neither; the size does not tell
  config.size = 48;
  const tuttiConfig_t old = *ConfigArgument::of_new(&config).get();
  EXPECT_EQ(old.trafficClass, TUTTI_CONFIG_UNDEF_INT);
  EXPECT_EQ(old.commName, nullptr);
  EXPECT_EQ(old.splitShare, 1);
}

TEST_F(NcclEnvironment, HowTo_HasTheTableOfTheCode) {
  std::ifstream file(TUTTI_TEST_HOWTO);
  std::stringstream text;
  text << file.rdbuf();
  EXPECT_THAT(text.str(), HasSubstr(environment_markdown()));
}

}  // namespace
}  // namespace tutti::nccl
