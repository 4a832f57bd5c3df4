// Net plugins as carriers: the suite of carriers over every version of their interface, and plugins
// that can't be used.
#include "src/base/error.h"
#include "src/base/shared_library.h"
#include "tests/unit/carrier_suite.h"
#include "transport/nccl_net/nccl_net.h"

namespace tutti::transport {
namespace {

std::string file_of(const std::string& plugin) {
  return std::string(TUTTI_TEST_PLUGINS) + "/libnccl-net-" + plugin + ".so";
}

std::unique_ptr<network::Carrier> make(const std::string& plugin, TransportOptions options = {}) {
  LocalConfig config;
  config.net_plugin = plugin;
  options.config = &config;
  return make_nccl_net_carrier(options);
}

CarrierMaker with(int version) {
  const std::string file = file_of("test" + std::to_string(version));
  return {.name = "v" + std::to_string(version),
          .make = [file](const TransportOptions& options) { return make(file, options); }};
}

std::string name_of(const testing::TestParamInfo<CarrierMaker>& info) { return info.param.name; }

INSTANTIATE_TEST_SUITE_P(NcclNet, CarrierSuite,
                         testing::Values(with(6), with(7), with(8), with(9), with(10), with(11),
                                         with(12)),
                         name_of);

// What the carrier says when it is made with a plugin that can't be used.
std::string refusal(const std::string& plugin) {
  try {
    make(plugin);
  } catch (const Error& error) {
    return error.what();
  }
  return "";
}

TEST(NcclNet, Version_IsTheNewestThatThePluginHas) {
  for (int version = 6; version <= 12; ++version) {
    const auto carrier = make(file_of("test" + std::to_string(version)));
    EXPECT_NE(carrier->describe().find("interface " + std::to_string(version)), std::string::npos);
    const std::string speed = "test0 " + std::to_string(1000 + version) + " Mb/s";
    EXPECT_NE(carrier->describe().find(speed), std::string::npos)
        << "the properties are read at the wrong place: " << carrier->describe();
  }
}

TEST(NcclNet, PluginThatCantBeUsed_IsRefusedWithItsReason) {
  const std::pair<std::string, std::string> cases[] = {
      {"there_is_none", "libnccl-net-there_is_none.so"},
      {file_of("empty"), "no device"},
      {file_of("gpus"), "no host memory"},
      {file_of("sick"), "does not start: init: system error (2)"},
      {file_of("sick11"), "does not start: init: system error (2)"},
      {file_of("old"), "exports none of ncclNetPlugin_v6 to ncclNetPlugin_v12"},
      {"libm.so.6", "exports none of"},
  };
  for (const auto& [plugin, words] : cases) {
    for (int again = 0; again < 2; ++again)
      EXPECT_NE(refusal(plugin).find(words), std::string::npos) << refusal(plugin);
  }
}

TEST(NcclNet, Objects_OfThePlugin_AreAllClosed) {
  for (int version = 6; version <= 12; ++version) {
    SharedLibrary library(file_of("test" + std::to_string(version)));
    int (*live)() = nullptr;
    ASSERT_TRUE(library.find("test_plugin_live_objects", live)) << library.reason();
    make(file_of("test" + std::to_string(version)));
    EXPECT_EQ(live(), 0) << "version " << version;
  }
}

}  // namespace
}  // namespace tutti::transport
