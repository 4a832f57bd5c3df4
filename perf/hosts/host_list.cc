// SPDX-License-Identifier: Apache-2.0
// Parsing of `--hosts`.
#include "perf/hosts/host_list.h"

#include <algorithm>
#include <charconv>
#include <string_view>

#include <spdlog/fmt/fmt.h>

#include "src/base/error.h"

namespace tutti::command {
namespace {

constexpr int kMaxSlots = 4096;  // of a host, and of all

[[noreturn]] void refuse(std::string_view entry, const std::string& reason) {
  throw Error(StatusCode::kInvalidArgument,
              fmt::format("--hosts: '{}': {}; expected a list such as a:4,b:4", entry, reason));
}

int parse_slots(std::string_view entry, std::string_view text) {
  int slots = 0;
  const auto parsed = std::from_chars(text.data(), text.data() + text.size(), slots);
  if (parsed.ec != std::errc{} || parsed.ptr != text.data() + text.size() || slots < 1 ||
      slots > kMaxSlots)
    refuse(entry, fmt::format("'{}' is no number of ranks from 1 to {}", text, kMaxSlots));
  return slots;
}

// One "NAME[:SLOTS]"; a numeric IPv6 address is in brackets.
HostShare parse_entry(std::string_view entry) {
  if (entry.empty()) refuse(entry, "an empty entry");
  const size_t bracket = entry.find('[');
  std::string name(entry);
  std::string_view rest;
  if (bracket != std::string_view::npos) {
    const size_t end = entry.find(']', bracket);
    if (end == std::string_view::npos) refuse(entry, "the ] is missing");
    name = std::string(entry.substr(0, bracket)) +
           std::string(entry.substr(bracket + 1, end - bracket - 1));
    rest = entry.substr(end + 1);
    if (!rest.empty() && rest[0] != ':') refuse(entry, "what follows the ] is not :SLOTS");
  } else if (const size_t colon = entry.find(':'); colon != std::string_view::npos) {
    if (entry.find(':', colon + 1) != std::string_view::npos)
      refuse(entry, "more than one colon (write a numeric IPv6 address in brackets)");
    name = std::string(entry.substr(0, colon));
    rest = entry.substr(colon);
  }
  // A name that begins with a dash would be an option of ssh.
  if (name.empty() || name[0] == '-') refuse(entry, "no name of a host");
  return {.name = std::move(name), .ranks = rest.empty() ? 1 : parse_slots(entry, rest.substr(1))};
}

std::vector<HostShare> parse(std::string_view text) {
  std::vector<HostShare> hosts;
  while (true) {
    const size_t comma = text.find(',');
    const HostShare host = parse_entry(text.substr(0, comma));
    const auto known = std::ranges::find(hosts, host.name, &HostShare::name);
    if (known == hosts.end())
      hosts.push_back(host);
    else
      known->ranks += host.ranks;
    if (comma == std::string_view::npos) return hosts;
    text.remove_prefix(comma + 1);
  }
}

}  // namespace

std::vector<HostShare> share_ranks(const std::string& hosts, int ranks) {
  std::vector<HostShare> shares = parse(hosts);
  int slots = 0;
  for (const HostShare& host : shares) slots = std::min(slots + host.ranks, kMaxSlots + 1);
  if (slots > kMaxSlots)
    throw Error(StatusCode::kInvalidArgument,
                fmt::format("--hosts: more than {} slots", kMaxSlots));
  if (ranks > slots) {
    throw Error(
        StatusCode::kInvalidArgument,
        fmt::format("-n {}: --hosts {} has {} slot{}; write more behind the names (a:4), or "
                    "name more hosts",
                    ranks, hosts, slots, slots == 1 ? "" : "s"));
  }
  int left = ranks == 0 ? slots : ranks;
  int next = 0;
  for (HostShare& host : shares) {
    host.first_rank = next;
    host.ranks = std::min(host.ranks, left);
    next += host.ranks;
    left -= host.ranks;
  }
  std::erase_if(shares, [](const HostShare& host) { return host.ranks == 0; });
  return shares;
}

std::string ranks_text(const HostShare& host) {
  return host.ranks == 1
             ? fmt::format("rank {}", host.first_rank)
             : fmt::format("ranks {}-{}", host.first_rank, host.first_rank + host.ranks - 1);
}

}  // namespace tutti::command
