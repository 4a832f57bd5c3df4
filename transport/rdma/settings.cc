// SPDX-License-Identifier: Apache-2.0
// Choices among devices, GIDs and rails; no system call.
#include "transport/rdma/settings.h"

#include <algorithm>
#include <bit>
#include <charconv>
#include <cstring>
#include <tuple>

#include <spdlog/fmt/fmt.h>

#include "src/base/error.h"
#include "src/base/infiniband.h"

namespace tutti::transport::rdma {
namespace {

constexpr std::array<unsigned char, 12> kMappedPrefix{0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff};

unsigned at(const Gid& gid, size_t i) { return std::to_integer<unsigned>(gid[i]); }

bool is_link_local(const Gid& gid) { return at(gid, 0) == 0xfe && (at(gid, 1) & 0xc0) == 0x80; }

bool is_zero(const Gid& gid) { return gid == Gid{}; }

// Lower is better; the order of preference on Ethernet.
int rank_of(const GidEntry& entry) {
  if (entry.type != GidType::kRoceV2 || is_zero(entry.gid)) return 9;
  if (is_ipv4_mapped(entry.gid)) return 0;
  return is_link_local(entry.gid) ? 2 : 1;
}

std::string_view name_of(GidType type) {
  switch (type) {
    case GidType::kInfiniBand:
      return "IB";
    case GidType::kRoceV1:
      return "RoCE v1";
    case GidType::kRoceV2:
      return "RoCE v2";
  }
  return "?";
}

std::string list_of(std::span<const GidEntry> table) {
  std::string text;
  for (const GidEntry& entry : table)
    text += fmt::format("{}{}: {} ({})", text.empty() ? "" : ", ", entry.index,
                        to_string(entry.gid), name_of(entry.type));
  return text.empty() ? "nothing" : text;
}

int common_bits(const Gid& a, const Gid& b) {
  for (size_t i = 0; i < a.size(); ++i) {
    const auto differ = static_cast<uint8_t>(a[i] ^ b[i]);
    if (differ != 0) return static_cast<int>(i) * 8 + std::countl_zero(differ);
  }
  return static_cast<int>(a.size()) * 8;
}

}  // namespace

std::string error_text(int error_number) {
  const char* const text = ::strerrordesc_np(error_number);
  return text == nullptr ? "error " + std::to_string(error_number) : text;
}

std::string to_string(const Gid& gid) {
  if (is_ipv4_mapped(gid))
    return fmt::format("{}.{}.{}.{}", at(gid, 12), at(gid, 13), at(gid, 14), at(gid, 15));
  std::string text;
  for (size_t i = 0; i < gid.size(); i += 2)
    text += fmt::format("{}{:02x}{:02x}", i == 0 ? "" : ":", at(gid, i), at(gid, i + 1));
  return text;
}

bool is_ipv4_mapped(const Gid& gid) noexcept {
  return std::memcmp(gid.data(), kMappedPrefix.data(), kMappedPrefix.size()) == 0;
}

DeviceFilter::DeviceFilter(std::string_view text) {
  const std::string whole(text);
  exclude_ = text.starts_with('^');
  if (exclude_) text.remove_prefix(1);
  while (!text.empty()) {
    const size_t comma = std::min(text.find(','), text.size());
    std::string_view item = text.substr(0, comma);
    text.remove_prefix(std::min(comma + 1, text.size()));
    const bool whole_name = item.starts_with('=');
    if (whole_name) item.remove_prefix(1);
    const size_t colon = std::min(item.find(':'), item.size());
    int port = 0;
    if (colon < item.size()) {
      const char* const end = item.data() + item.size();
      const auto parsed = std::from_chars(item.data() + colon + 1, end, port);
      if (parsed.ec != std::errc{} || parsed.ptr != end || port < 1 || port > 255) port = -1;
    }
    if (colon == 0 || port < 0)
      throw Error(StatusCode::kInvalidArgument, "TUTTI_RDMA_DEVICES='" + whole +
                                                    "' is not valid: '" + std::string(item) +
                                                    "' is no device's name, with or without :port");
    items_.push_back({std::string(item.substr(0, colon)), whole_name, port});
  }
  if (exclude_ && items_.empty())
    throw Error(StatusCode::kInvalidArgument,
                "TUTTI_RDMA_DEVICES='^' is not valid: it names nothing to exclude");
}

bool DeviceFilter::wants(std::string_view device, int port) const noexcept {
  if (items_.empty()) return true;
  const bool named = std::ranges::any_of(items_, [&](const Item& item) {
    const bool same = item.whole ? device == item.name : device.starts_with(item.name);
    return same && (item.port == 0 || item.port == port);
  });
  return named != exclude_;
}

const GidEntry* choose_gid(std::span<const GidEntry> table, bool ethernet, int wanted,
                           std::string* why) {
  if (wanted >= 0) {
    const auto found = std::ranges::find(table, wanted, &GidEntry::index);
    if (found != table.end() && !is_zero(found->gid)) return &*found;
    *why = fmt::format("TUTTI_RDMA_GID_INDEX={} is not in its GID table, which has {}", wanted,
                       list_of(table));
    return nullptr;
  }
  if (!ethernet) {
    const auto found =
        std::ranges::find_if(table, [](const GidEntry& e) { return !is_zero(e.gid); });
    if (found != table.end()) return &*found;
    *why = "its GID table is empty; does a subnet manager run?";
    return nullptr;
  }
  const auto best = std::ranges::min_element(table, {}, rank_of);
  if (best != table.end() && rank_of(*best) < 9) return &*best;
  *why = fmt::format(
      "it has no RoCE v2 GID (give its network interface an IP address, or choose an entry with "
      "TUTTI_RDMA_GID_INDEX); its table has {}",
      list_of(table));
  return nullptr;
}

double gbits_per_second(unsigned active_width, unsigned active_speed) noexcept {
  const int lanes = infiniband_lanes(active_width);
  const auto lane = [&]() -> double {
    switch (active_speed) {  // after encoding: 8b/10b up to QDR, then 64b/66b
      case 1:
        return 2;
      case 2:
        return 4;
      case 4:
        return 8;
      case 8:
        return 10;
      case 16:
        return 14;
      case 32:
        return 25;
      case 64:
        return 50;
      case 128:
        return 100;
      default:
        return 0;
    }
  };
  return lanes * lane();
}

std::string_view to_string(Fabric fabric) noexcept {
  switch (fabric) {
    case Fabric::kInfiniBand:
      return "InfiniBand";
    case Fabric::kRoce:
      return "RoCE";
    case Fabric::kIwarp:
      return "iWARP";
  }
  return "unknown";
}

bool same_fabric(const RailAddress& mine, const RailAddress& theirs) noexcept {
  if (mine.fabric != theirs.fabric) return false;
  // InfiniBand: the upper half is the subnet's prefix.
  if (mine.fabric == Fabric::kInfiniBand)
    return std::memcmp(mine.gid.data(), theirs.gid.data(), 8) == 0;
  return is_ipv4_mapped(mine.gid) == is_ipv4_mapped(theirs.gid);
}

std::vector<RailPair> pair_rails(std::span<const RailAddress> mine,
                                 std::span<const RailAddress> theirs) {
  struct Candidate {
    int bits;
    bool same_name;
    int distance;  // of their places in the two lists
    RailPair pair;
  };
  std::vector<Candidate> candidates;
  for (size_t m = 0; m < mine.size(); ++m) {
    for (size_t t = 0; t < theirs.size(); ++t) {
      if (!same_fabric(mine[m], theirs[t])) continue;
      const RailPair pair{static_cast<int>(m), static_cast<int>(t)};
      candidates.push_back({common_bits(mine[m].gid, theirs[t].gid),
                            mine[m].device == theirs[t].device && mine[m].port == theirs[t].port,
                            std::abs(pair.mine - pair.theirs), pair});
    }
  }
  std::ranges::sort(candidates, {}, [](const Candidate& c) {
    return std::tuple(-c.bits, !c.same_name, c.distance, c.pair.mine + c.pair.theirs,
                      std::min(c.pair.mine, c.pair.theirs), c.pair.mine);
  });
  std::vector<RailPair> pairs;
  for (const Candidate& c : candidates) {
    const bool taken = std::ranges::any_of(pairs, [&](const RailPair& p) {
      return p.mine == c.pair.mine || p.theirs == c.pair.theirs;
    });
    if (!taken) pairs.push_back(c.pair);
  }
  std::ranges::sort(pairs, {}, [](const RailPair& p) {
    return std::tuple(p.mine + p.theirs, std::min(p.mine, p.theirs), p.mine);
  });
  return pairs;
}

}  // namespace tutti::transport::rdma
