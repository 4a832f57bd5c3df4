// SPDX-License-Identifier: Apache-2.0
// The configuration table: parsing, messages, misspellings, and its generated page.
#include <cstdlib>
#include <fstream>
#include <map>
#include <sstream>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "src/base/clock.h"
#include "src/base/config.h"
#include "tests/unit/base_test_support.h"

namespace tutti {
namespace {

using testing::AllOf;
using testing::HasSubstr;
using testing::Not;

// Sets variables for one test and removes them afterwards; starts from an environment without any
// of ours.
class ConfigTest : public testing::Test {
 protected:
  ConfigTest() {
    for (const ConfigRow& row : config_rows()) ::unsetenv(row.name);
  }
  ~ConfigTest() override {
    for (const std::string& name : set_) ::unsetenv(name.c_str());
  }
  void set(const std::string& name, const std::string& value) {
    ::setenv(name.c_str(), value.c_str(), 1);
    set_.push_back(name);
  }

 private:
  std::vector<std::string> set_;
};

TEST_F(ConfigTest, EmptyEnvironment_GivesTheDefaults) {
  const Config config = config_from_environment();
  EXPECT_STREQ(config.agreed.algorithm, "");
  EXPECT_STREQ(config.agreed.protocol, "");
  EXPECT_EQ(config.agreed.channels, 0u);
  EXPECT_EQ(config.agreed.slot_bytes, 0u);
  EXPECT_EQ(config.local.timeout_ns, 600 * kNsPerSecond);
  EXPECT_EQ(config.local.init_timeout_ns, 60 * kNsPerSecond);
  EXPECT_EQ(config.local.memory_cap_bytes, 0u);
  EXPECT_EQ(config.local.profile, "auto");
  EXPECT_EQ(config.local.log_level, "off");
  EXPECT_EQ(config.local.log_file, "");
  EXPECT_EQ(config.local.trace_dir, "");
  EXPECT_EQ(config.local.trace_entries, 1024u);
}

TEST_F(ConfigTest, EveryVariableSet_IsRead) {
  const std::map<std::string, std::string> environment = {{"TUTTI_ALGO", "ring"},
                                                          {"TUTTI_PLAN_FILE", "/tmp/plan.json"},
                                                          {"TUTTI_PROFILE", "/tmp/profile.json"},
                                                          {"TUTTI_LAYOUT", "0,1,0,1"},
                                                          {"TUTTI_HOST_ID", "a"},
                                                          {"TUTTI_DEVICE", "3"},
                                                          {"TUTTI_GPU_BLOCKS", "16"},
                                                          {"TUTTI_GPU_THREADS", "256"},
                                                          {"TUTTI_PROTO", "staged"},
                                                          {"TUTTI_TRANSPORT", "shm"},
                                                          {"TUTTI_CHANNELS", "4"},
                                                          {"TUTTI_SLOT_BYTES", "128K"},
                                                          {"TUTTI_SLOTS", "16"},
                                                          {"TUTTI_DETERMINISTIC", "1"},
                                                          {"TUTTI_DIRECT_MIN_BYTES", "1M"},
                                                          {"TUTTI_PULL_MIN_BYTES", "77"},
                                                          {"TUTTI_SYMMETRIC_BYTES", "64K"},
                                                          {"TUTTI_TIMEOUT", "2.5"},
                                                          {"TUTTI_INIT_TIMEOUT", "0"},
                                                          {"TUTTI_MEMORY_CAP", "2g"},
                                                          {"TUTTI_STAGING_POOL", "5M"},
                                                          {"TUTTI_SOCKET_IFNAME", "eth"},
                                                          {"TUTTI_TCP_SOCKETS", "3"},
                                                          {"TUTTI_ENCRYPT", "1"},
                                                          {"TUTTI_NET_TIMEOUT", "1.5"},
                                                          {"TUTTI_RDMA_DEVICES", "^siw"},
                                                          {"TUTTI_RDMA_QPS", "4"},
                                                          {"TUTTI_RDMA_GID_INDEX", "3"},
                                                          {"TUTTI_RDMA_PKEY", "0x8001"},
                                                          {"TUTTI_RDMA_SL", "5"},
                                                          {"TUTTI_RDMA_TRAFFIC_CLASS", "104"},
                                                          {"TUTTI_RDMA_TIMEOUT", "10"},
                                                          {"TUTTI_RDMA_RETRY", "1"},
                                                          {"TUTTI_UCX_TLS", "tcp,self"},
                                                          {"TUTTI_UCX_PUT", "0"},
                                                          {"TUTTI_NET_PLUGIN", "socket"},
                                                          {"TUTTI_TUNER_PLUGIN", "./tuner.so"},
                                                          {"TUTTI_FAULTS", "seed=2"},
                                                          {"TUTTI_LOG", "debug,shm=off"},
                                                          {"TUTTI_LOG_FILE", "/tmp/x.%r.%p"},
                                                          {"TUTTI_TRACE_DIR", "/tmp/traces"},
                                                          {"TUTTI_TRACE_ENTRIES", "1000"},
                                                          {"TUTTI_METRICS_FILE", "/tmp/m.%r"},
                                                          {"TUTTI_RANK", "0"},
                                                          {"TUTTI_SIZE", "4"},
                                                          {"TUTTI_LOCAL_RANK", "3"},
                                                          {"TUTTI_LOCAL_SIZE", "4"},
                                                          {"TUTTI_THREADS", "2"},
                                                          {"TUTTI_JOB", "a job"},
                                                          {"TUTTI_PORT", "29501"},
                                                          {"TUTTI_RSH", "ssh -p 22"},
                                                          {"TUTTI_KEY", "secret"},
                                                          {"TUTTI_KEY_FILE", "/run/secret"},
                                                          {"TUTTI_SERVICE", "ranks"}};
  for (const auto& [name, value] : environment) set(name, value);
  EXPECT_EQ(environment.size(), config_rows().size()) << "a row without a line in this test";
  const Config config = config_from_environment();
  EXPECT_STREQ(config.agreed.algorithm, "ring");
  EXPECT_EQ(config.local.plan_file, "/tmp/plan.json");
  EXPECT_EQ(config.local.profile, "/tmp/profile.json");
  EXPECT_EQ(config.local.layout, "0,1,0,1");
  EXPECT_EQ(config.local.device, 3);
  EXPECT_EQ(config.local.gpu_blocks, 16u);
  EXPECT_EQ(config.local.gpu_threads, 256u);
  EXPECT_STREQ(config.agreed.protocol, "staged");
  EXPECT_STREQ(config.agreed.transport, "shm");
  EXPECT_EQ(config.agreed.channels, 4u);
  EXPECT_EQ(config.agreed.deterministic, 1u);
  EXPECT_EQ(config.agreed.slot_bytes, 128u << 10);
  EXPECT_EQ(config.agreed.slots, 16u);
  EXPECT_EQ(config.agreed.direct_min_bytes, 1u << 20);
  EXPECT_EQ(config.agreed.pull_min_bytes, 77u);
  EXPECT_EQ(config.agreed.symmetric_bytes, 64u << 10);
  EXPECT_EQ(config.local.timeout_ns, 2'500 * kNsPerMs);
  EXPECT_EQ(config.local.init_timeout_ns, 0);
  EXPECT_EQ(config.local.memory_cap_bytes, uint64_t{2} << 30);
  EXPECT_EQ(config.local.staging_pool_bytes, uint64_t{5} << 20);
  EXPECT_EQ(config.local.interface_prefix, "eth");
  EXPECT_EQ(config.local.tcp_sockets, 3u);
  EXPECT_TRUE(config.local.encrypt);
  EXPECT_EQ(config.local.net_timeout_ns, 1'500 * kNsPerMs);
  EXPECT_EQ(config.local.rdma.devices, "^siw");
  EXPECT_EQ(config.local.rdma.queue_pairs, 4u);
  EXPECT_EQ(config.local.rdma.gid_index, 3);
  EXPECT_EQ(config.local.rdma.pkey, 0x8001);
  EXPECT_EQ(config.local.rdma.service_level, 5u);
  EXPECT_EQ(config.local.rdma.traffic_class, 104u);
  EXPECT_EQ(config.local.rdma.timeout, 10u);
  EXPECT_EQ(config.local.rdma.retries, 1u);
  EXPECT_EQ(config.local.ucx_tls, "tcp,self");
  EXPECT_EQ(config.local.ucx_put, "0");
  EXPECT_EQ(config.local.net_plugin, "socket");
  EXPECT_EQ(config.local.tuner_plugin, "./tuner.so");
  EXPECT_EQ(config.local.faults, "seed=2");
  EXPECT_EQ(config.local.log_level, "debug,shm=off");
  EXPECT_EQ(config.local.log_file, "/tmp/x.%r.%p");
  EXPECT_EQ(config.local.trace_dir, "/tmp/traces");
  EXPECT_EQ(config.local.trace_entries, 1024u);
  EXPECT_EQ(config.local.metrics_file, "/tmp/m.%r");
  EXPECT_EQ(config.local.job, "a job");
  EXPECT_TRUE(unknown_variables().empty());
}

TEST_F(ConfigTest, EmptyValue_CountsAsNotSet) {
  for (const ConfigRow& row : config_rows()) set(row.name, "");
  const Config config = config_from_environment();
  EXPECT_EQ(config.local.timeout_ns, 600 * kNsPerSecond);
  EXPECT_EQ(config.local.log_level, "off");
}

TEST_F(ConfigTest, ValueNotAllowed_ThrowsNamingVariableValueAndRange) {
  struct Case {
    const char* name;
    const char* value;
    const char* allowed;
  };
  const Case cases[] = {
      {"TUTTI_PROTO", "fast", "inline, staged, direct"},
      {"TUTTI_PROTO", "stagd", "did you mean 'staged'?"},
      {"TUTTI_ALGO", "Ring!", "a name of at most 31 characters"},
      {"TUTTI_ALGO", "a-name-that-is-far-too-long-for-it", "at most 31"},
      {"TUTTI_TRANSPORT", "shm tcp", "names with commas"},
      {"TUTTI_CHANNELS", "65", "from 0 to 64"},
      {"TUTTI_CHANNELS", "-1", "from 0 to 64"},
      {"TUTTI_CHANNELS", "two", "from 0 to 64"},
      {"TUTTI_CHANNELS", "2x", "from 0 to 64"},
      {"TUTTI_CHANNELS", "99999999999999999999999", "from 0 to 64"},
      {"TUTTI_SLOT_BYTES", "100", "power of two"},
      {"TUTTI_SLOT_BYTES", "32", "from 64"},
      {"TUTTI_SLOT_BYTES", "4G", "to 268435456"},
      {"TUTTI_SLOTS", "3", "power of two"},
      {"TUTTI_DIRECT_MIN_BYTES", "1T", "suffix K, M or G"},
      {"TUTTI_DIRECT_MIN_BYTES", "K", "suffix K, M or G"},
      {"TUTTI_PULL_MIN_BYTES", "18446744073709551615G", "suffix K, M or G"},
      {"TUTTI_PULL_MIN_BYTES", "1KB", "suffix K, M or G"},
      {"TUTTI_TIMEOUT", "-1", "seconds from 0"},
      {"TUTTI_TIMEOUT", "nan", "seconds from 0"},
      {"TUTTI_TIMEOUT", "inf", "seconds from 0"},
      {"TUTTI_TIMEOUT", "1e300", "seconds from 0"},
      {"TUTTI_TIMEOUT", "5s", "seconds from 0"},
      {"TUTTI_LOG", "verbose", "off, error, warn, info, debug, trace"},
      {"TUTTI_LOG", "inof", "did you mean 'info'?"},
      {"TUTTI_TRACE_ENTRIES", "8", "from 16"},
      {"TUTTI_RANK", "x", "a whole number"},
      {"TUTTI_SIZE", "0", "from 1"},
      {"TUTTI_PORT", "70000", "to 65535"},
      {"TUTTI_THREADS", "0", "from 1"},
  };
  for (const Case& c : cases) {
    set(c.name, c.value);
    const auto error = error_of([] { config_from_environment(); });
    ::unsetenv(c.name);
    ASSERT_TRUE(error.has_value()) << c.name << "=" << c.value;
    EXPECT_EQ(error->code(), StatusCode::kInvalidArgument);
    EXPECT_THAT(error->what(),
                AllOf(HasSubstr(std::string(c.name) + "='" + c.value + "'"), HasSubstr(c.allowed)));
  }
}

TEST_F(ConfigTest, SecondsBelowANanosecond_AreALimitStill) {
  set("TUTTI_TIMEOUT", "1e-12");
  EXPECT_EQ(config_from_environment().local.timeout_ns, 1);
}

TEST_F(ConfigTest, UnknownVariables_AreListedWithTheNearestName) {
  set("TUTTI_LOGG", "info");
  set("TUTTI_TIMOUT", "3");
  set("TUTTI_COMPLETELY_DIFFERENT", "1");
  set("NOT_TUTTI_AT_ALL", "1");
  set("TUTTI_VM_HOSTS", "2");
  set("TUTTI_TEST_LONG", "1");
  const auto unknown = unknown_variables();
  ASSERT_EQ(unknown.size(), 3u);
  EXPECT_EQ(unknown[0].name, "TUTTI_COMPLETELY_DIFFERENT");
  EXPECT_EQ(unknown[0].nearest, "");
  EXPECT_EQ(unknown[1].name, "TUTTI_LOGG");
  EXPECT_EQ(unknown[1].nearest, "TUTTI_LOG");
  EXPECT_EQ(unknown[2].name, "TUTTI_TIMOUT");
  EXPECT_EQ(unknown[2].nearest, "TUTTI_TIMEOUT");
}

TEST_F(ConfigTest, ForeignVariable_IsReadAsItIs) {
  EXPECT_FALSE(foreign_variable("PMI_RANK_OF_NOBODY").has_value());
  set("PMI_RANK_OF_NOBODY", "");
  EXPECT_EQ(foreign_variable("PMI_RANK_OF_NOBODY"), "");
}

TEST_F(ConfigTest, StandIn_CountsWhereAVariableIsNotSet) {
  set_stand_in([](const char* name) {
    const bool asked = std::string(name) == "TUTTI_CHANNELS" || std::string(name) == "TUTTI_ALGO";
    return asked ? std::optional<std::string>(name[6] == 'C' ? "3" : "ring") : std::nullopt;
  });
  set("TUTTI_CHANNELS", "5");
  set("TUTTI_ALGO", "");
  const Config config = config_from_environment();
  set_stand_in(nullptr);
  EXPECT_EQ(config.agreed.channels, 5u);
  EXPECT_STREQ(config.agreed.algorithm, "ring");
  EXPECT_STREQ(config_from_environment().agreed.algorithm, "");
}

TEST(NearestName, NothingNear_IsEmpty) {
  const std::string_view names[] = {"ring", "tree", "direct"};
  EXPECT_EQ(nearest_name("rng", names), "ring");
  EXPECT_EQ(nearest_name("dierct", names), "direct");
  EXPECT_EQ(nearest_name("hypercube", names), "");
  EXPECT_EQ(nearest_name("", names), "");
}

TEST(ConfigRows, EachOne_IsDocumentedAndUnique) {
  std::map<std::string, int> seen;
  for (const ConfigRow& row : config_rows()) {
    EXPECT_EQ(++seen[row.name], 1);
    EXPECT_THAT(std::string(row.name), testing::StartsWith("TUTTI_"));
    EXPECT_THAT(std::string(row.doc), testing::EndsWith(".")) << row.name;
    EXPECT_THAT(std::string(row.doc), Not(HasSubstr("|"))) << row.name;
  }
}

TEST(ConfigMarkdown, CheckedInPage_IsUpToDate) {
  const std::string path = std::string(TUTTI_SOURCE_DIR) + "/docs/config.md";
  std::stringstream page;
  page << std::ifstream(path).rdbuf();
  if (page.str() == config_markdown()) return;
  const std::string fresh = testing::TempDir() + "config.md";
  std::ofstream(fresh) << config_markdown();
  FAIL() << path << " differs from the table; to renew it: cp " << fresh << " " << path;
}

}  // namespace
}  // namespace tutti
