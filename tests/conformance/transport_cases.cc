// SPDX-License-Identifier: Apache-2.0
// Lists the transports that work here.
#include "tests/conformance/transport_cases.h"

#include <iostream>
#include <vector>

#include "transport/faulty/faulty.h"
#include "transport/nccl_net/nccl_net.h"
#include "transport/network/network.h"
#include "transport/ucx/ucx.h"

namespace tutti::transport::testing {
namespace {

// Every transport once more with messages that come late.
std::unique_ptr<Transport> late(std::unique_ptr<Transport> transport) {
  return make_faulty(std::move(transport), parse_faults("seed=3,delay=20us"));
}

#if defined(TUTTI_TEST_PLUGINS)
// Those that are used only when the user names them, in a program of their own.

std::unique_ptr<Transport> create_ucx(const TransportOptions& options) {
  return network::make_network_transport(options, make_ucx_carrier(options));
}
std::unique_ptr<Transport> create_late_ucx(const TransportOptions& options) {
  return late(create_ucx(options));
}
// With the test plugin that has this version of the interface.
template <int kVersion>
std::unique_ptr<Transport> create_nccl_net(const TransportOptions& options) {
  static const LocalConfig config = [] {
    LocalConfig made;
    made.net_plugin = TUTTI_TEST_PLUGINS "/libnccl-net-test" + std::to_string(kVersion) + ".so";
    return made;
  }();
  TransportOptions own = options;
  own.config = &config;
  return network::make_network_transport(own, make_nccl_net_carrier(own));
}
template <int kVersion>
std::unique_ptr<Transport> create_late_nccl_net(const TransportOptions& options) {
  return late(create_nccl_net<kVersion>(options));
}

std::vector<TransportRow> make_rows() {
  std::vector<TransportRow> all{
      {"nccl_net_v6", "", create_nccl_net<6>, true},
      {"nccl_net_v7", "", create_nccl_net<7>, true},
      {"nccl_net_v8", "", create_nccl_net<8>, true},
      {"nccl_net_v9", "", create_nccl_net<9>, true},
      {"nccl_net_v10", "", create_nccl_net<10>, true},
      {"nccl_net_v11", "", create_nccl_net<11>, true},
      {"nccl_net_v12", "", create_nccl_net<12>, true},
      {"late_nccl_net", "", create_late_nccl_net<12>, true},
  };
  try {
    make_ucx_carrier({});
    all.push_back({"ucx", "", create_ucx, true});
    all.push_back({"late_ucx", "", create_late_ucx, true});
  } catch (const Error& error) {
    std::cout << "ucx is left out: " << error.what() << std::endl;
  }
  return all;
}
#else
template <const char* kName>
std::unique_ptr<Transport> create_late(const TransportOptions& options) {
  for (const TransportRow& row : transport_table()) {
    if (std::string_view(row.name) == kName) return late(row.create(options));
  }
  throw Error(StatusCode::kInternalError, "no such row");
}
constexpr char kInproc[] = "inproc";
constexpr char kShm[] = "shm";
constexpr char kTcp[] = "tcp";

std::vector<TransportRow> make_rows() {
  std::vector<TransportRow> all;
  const SharedBell bell = SharedBell::allocate();
  TransportOptions options;
  options.bell = &bell;
  for (const TransportRow& row : transport_table()) {
    if (row.only_when_named) continue;
    try {
      row.create(options);
      all.push_back(row);
    } catch (const Error& error) {
      std::cout << row.name << " is left out: " << error.what() << std::endl;
    }
  }
  all.push_back({"late_inproc", "", create_late<kInproc>});
  all.push_back({"late_shm", "", create_late<kShm>});
  all.push_back({"late_tcp", "", create_late<kTcp>, true});
  return all;
}
#endif

const std::vector<TransportRow>& rows_under_test() {
  static const std::vector<TransportRow> rows = make_rows();
  return rows;
}

std::vector<Case> all_cases() {
  std::vector<Case> cases;
  for (const TransportRow& row : rows_under_test()) {
    cases.push_back({&row, Mode::kThreads});
#if !defined(__SANITIZE_THREAD__)  // it follows threads of one process only
    if (std::string_view(row.name).find("inproc") == std::string_view::npos)
      cases.push_back({&row, Mode::kProcesses});
#endif
  }
  return cases;
}

std::string case_name(const ::testing::TestParamInfo<Case>& info) {
  return std::string(info.param.row->name) +
         (info.param.mode == Mode::kThreads ? "_threads" : "_processes");
}

INSTANTIATE_TEST_SUITE_P(Transports, TransportConformance, ::testing::ValuesIn(all_cases()),
                         case_name);

}  // namespace
}  // namespace tutti::transport::testing
