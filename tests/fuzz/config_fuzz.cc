// SPDX-License-Identifier: Apache-2.0
// Texts that users set or write by hand: lines NAME=VALUE, where NAME is a variable of the table,
// or one of the small languages below.
#include <algorithm>
#include <bit>

#include <spdlog/fmt/fmt.h>

#include "src/base/config_table.h"
#include "src/base/socket.h"
#include "src/plan/collective.h"
#include "src/plan/operand_text.h"
#include "tests/fuzz/fuzz.h"
#include "topology/graph.h"
#include "transport/faulty/faulty.h"

namespace tutti::fuzz {
namespace {

bool ends_inside(std::span<const char> text) { return std::ranges::count(text, '\0') > 0; }
bool power_of_two_up_to(uint64_t value, uint64_t most) {
  return value == 0 || (std::has_single_bit(value) && value <= most);
}

void check_variable(const ConfigEntry& entry, const std::string& value) {
  Config config;
  const bool good = accepted([&] {
                      entry.parse(entry.row, value, &config);
                      return true;
                    }).has_value();
  const AgreedConfig& agreed = config.agreed;
  require(ends_inside(agreed.algorithm) && ends_inside(agreed.protocol) &&
              ends_inside(agreed.transport),
          "names end inside their fields");
  require(agreed.channels <= 64, "channels in range");
  require(power_of_two_up_to(agreed.slots, 64), "slots in range");
  require(power_of_two_up_to(agreed.slot_bytes, 256u << 20), "slot_bytes in range");
  require(config.local.timeout_ns >= 0 && config.local.init_timeout_ns >= 0, "times are positive");
  require(power_of_two_up_to(config.local.trace_entries, 1u << 20), "entries in range");
  if (!good) return;
  // On top of another value, as the environment's comes on top of the default.
  Config again;
  entry.parse(entry.row, *entry.row.default_text == '\0' ? value : entry.row.default_text, &again);
  entry.parse(entry.row, value, &again);
  require(std::string_view(agreed.algorithm) == again.agreed.algorithm &&
              agreed.slot_bytes == again.agreed.slot_bytes &&
              agreed.direct_min_bytes == again.agreed.direct_min_bytes &&
              config.local.timeout_ns == again.local.timeout_ns &&
              config.local.trace_entries == again.local.trace_entries,
          "nothing is left of the value before");
}

void check_faults(const std::string& text) {
  using transport::Faults;
  const auto faults = accepted([&] { return transport::parse_faults(text); });
  if (!faults) return;
  for (const double chance : {faults->stall, faults->drop, faults->kill})
    require(chance >= 0 && chance <= 1, "chances in range");
  require(faults->delay_ns >= 0 && faults->stall_ns >= 0, "times are positive");
  const Faults same = transport::parse_faults(
      fmt::format("seed={},delay={}ns,stall={}:{}ns,drop={},kill={}", faults->seed,
                  faults->delay_ns, faults->stall, faults->stall_ns, faults->drop, faults->kill));
  require(same.seed == faults->seed && same.delay_ns == faults->delay_ns &&
              same.stall == faults->stall && same.stall_ns == faults->stall_ns &&
              same.drop == faults->drop && same.kill == faults->kill,
          "faults come back");
}

void check_operand(const std::string& text) {
  const auto operand = plan::operand_from_text(text);
  if (operand) require(plan::operand_from_text(to_text(*operand)) == operand, "operands come back");
}

void check_address(const std::string& text) {
  const auto address = accepted([&] { return SocketAddress::parse(text); });
  if (!address) return;
  const std::string written = address->to_string();
  require(SocketAddress::parse(written).to_string() == written, "addresses come back");
}

void check_cpus(const std::string& text) {
  const auto cpus = accepted([&] { return topology::parse_cpu_list(text); });
  if (!cpus) return;
  require(std::ranges::is_sorted(*cpus), "CPUs ascend");
  require(topology::parse_cpu_list(topology::cpu_list(*cpus)) == *cpus, "CPU lists come back");
}

void check_collective(const std::string& text) {
  const auto collective = accepted([&] { return plan::collective_from_name(text); });
  if (collective)
    require(plan::collective_from_name(plan::name(*collective)) == *collective, "names come back");
}

struct Language {
  std::string_view name;
  void (*check)(const std::string& text);
};
constexpr Language kLanguages[] = {{"TUTTI_FAULTS", check_faults},
                                   {"operand", check_operand},
                                   {"address", check_address},
                                   {"cpus", check_cpus},
                                   {"collective", check_collective}};

void check_line(std::string_view line) {
  const size_t equals = line.find('=');
  if (equals == std::string_view::npos) return;
  const std::string_view name = line.substr(0, equals);
  const std::string value(line.substr(equals + 1));
  for (const Language& language : kLanguages) {
    if (language.name == name) return language.check(value);
  }
  std::vector<std::string_view> names;
  for (const ConfigEntry& entry : config_entries()) {
    if (entry.row.name == name) return check_variable(entry, value);
    names.emplace_back(entry.row.name);
  }
  const std::string nearest = nearest_name(name, names);
  require(nearest.empty() || std::ranges::find(names, nearest) != names.end(),
          "what is nearest is a name");
}

}  // namespace

void run(std::string_view input) {
  while (!input.empty()) {
    const std::string_view line = input.substr(0, input.find('\n'));
    check_line(line);
    input.remove_prefix(std::min(input.size(), line.size() + 1));
  }
}

std::vector<std::string> seeds() {
  std::vector<std::string> all;
  for (const ConfigRow& row : config_rows())
    all.push_back(fmt::format("{}={}\n", row.name, row.default_text));
  for (const char* text : {"input[1]", "pre(scratch[0])", "peer 3", "peer 3 channel 1"})
    all.push_back(fmt::format("operand={}\n", text));
  return all;
}

}  // namespace tutti::fuzz
