// UCX as a carrier: the suite of carriers over its transports of one host, and what is its own.
#include "tests/unit/carrier_suite.h"
#include "transport/ucx/ucx.h"

namespace tutti::transport {
namespace {

std::string absent() {
  try {
    make_ucx_carrier({});
  } catch (const Error& error) {
    return error.what();
  }
  return "";
}

CarrierMaker over(const std::string& name, const std::string& tls, const std::string& put) {
  auto config = std::make_shared<LocalConfig>();  // shared: std::function copies what it holds
  config->ucx_tls = tls;
  config->ucx_put = put;
  return {.name = name,
          .make =
              [config](const TransportOptions& options) {
                TransportOptions own = options;
                own.config = config.get();
                return make_ucx_carrier(own);
              },
          .skip = absent};
}

std::string name_of(const testing::TestParamInfo<CarrierMaker>& info) { return info.param.name; }

INSTANTIATE_TEST_SUITE_P(Ucx, CarrierSuite,
                         testing::Values(over("all", "", "auto"), over("tcp", "tcp", "auto"),
                                         over("tcp_put", "tcp", "1")),
                         name_of);

TEST(Ucx, Tls_ThatDoesNotExist_IsRefusedWithItsName) {
  if (const std::string why = absent(); !why.empty()) GTEST_SKIP() << why;
  LocalConfig config;
  config.ucx_tls = "carrier_pigeon";
  TransportOptions options;
  options.config = &config;
  try {
    make_ucx_carrier(options);
    FAIL() << "a transport that UCX does not have was taken";
  } catch (const Error& error) {
    EXPECT_NE(std::string(error.what()).find("TUTTI_UCX_TLS"), std::string::npos) << error.what();
  }
}

}  // namespace
}  // namespace tutti::transport
