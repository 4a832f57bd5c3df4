// SPDX-License-Identifier: Apache-2.0
// Asks the transports themselves; what the system says of an interface is added.
#include "perf/topo/rails.h"

#include <algorithm>
#include <fstream>
#include <string_view>

#include <spdlog/fmt/fmt.h>

#include "perf/doctor/rank_report.h"
#include "src/base/error.h"
#include "src/base/shared_bell.h"
#include "transport/tcp/rails.h"
#include "transport/transport.h"

namespace tutti::command {
namespace {

constexpr uint64_t kProbeComm = 0x7261696c73;  // "rails"

// "25 Gb/s"; the system does not know it of every device.
std::string speed_of(const std::string& interface) {
  std::ifstream file("/sys/class/net/" + interface + "/speed");
  int64_t megabits = -1;
  if (!(file >> megabits) || megabits <= 0) return "speed unknown";
  return megabits % 1000 == 0 ? fmt::format("{} Gb/s", megabits / 1000)
                              : fmt::format("{} Mb/s", megabits);
}

std::vector<Rail> tcp_rails(const LocalConfig& config) {
  std::vector<std::string> skipped;
  std::vector<Rail> rails;
  for (const auto& found : transport::tcp::find_rails(config.interface_prefix, &skipped)) {
    // Without the port, which is another for each communicator.
    const std::string address = found.address.to_string();
    rails.push_back({"tcp", fmt::format("{} {}, network of {} bits, {}", found.interface,
                                        address.substr(0, address.rfind(':')), found.prefix_bits,
                                        speed_of(found.interface))});
  }
  for (std::string& why : skipped) rails.push_back({"tcp", std::move(why), false});
  return rails;
}

// The sentences in which a transport reports, one to a line.
std::vector<Rail> reported(const transport::TransportRow& row, const LocalConfig& config) {
  MemoryBudget budget;
  const SharedBell bell = SharedBell::allocate();
  const auto transport = row.create({.comm_id = kProbeComm,
                                     .rank = 0,
                                     .budget = &budget,
                                     .bell = &bell,
                                     .n_ranks = 1,
                                     .config = &config});
  std::vector<Rail> rails;
  const std::string text = transport->direct_capability();
  for (size_t at = 0; at < text.size();) {
    const size_t end = std::min(text.find("; ", at), text.size());
    constexpr std::string_view kUnused = "not used: ";
    const std::string part = text.substr(at, end - at);
    const bool used = !part.starts_with(kUnused);
    rails.push_back({row.name, used ? part : part.substr(kUnused.size()), used});
    at = end + 2;
  }
  return rails;
}

}  // namespace

std::vector<Rail> rails_here() {
  const Config config = config_or_default();
  std::vector<Rail> rails;
  for (const transport::TransportRow& row : transport::transport_table()) {
    if (!row.crosses_hosts) continue;
    try {
      const bool is_tcp = std::string_view(row.name) == "tcp";
      const auto found = is_tcp ? tcp_rails(config.local) : reported(row, config.local);
      rails.insert(rails.end(), found.begin(), found.end());
      if (row.only_when_named)
        rails.push_back({row.name, "only where TUTTI_TRANSPORT names it", false});
    } catch (const Error& error) {
      rails.push_back({row.name, error.what(), false});
    }
  }
  return rails;
}

std::string rails_text(const std::string& host, const std::vector<Rail>& rails) {
  std::string text = fmt::format("rails of {}, the networks to other hosts:\n", host);
  for (const Rail& rail : rails)
    text +=
        fmt::format("  {:<8}  {}{}\n", rail.transport, rail.used ? "" : "not used: ", rail.text);
  return text;
}

}  // namespace tutti::command
