// SPDX-License-Identifier: Apache-2.0
// Lists interfaces and pairs them with a peer's.
#include "transport/tcp/rails.h"

#include <ifaddrs.h>

#include <algorithm>
#include <bit>
#include <cerrno>
#include <cstring>
#include <memory>

#include <net/if.h>
#include <netinet/in.h>

#include "src/base/error.h"

namespace tutti::transport::tcp {
namespace {

using Family = SocketAddress::Family;

constexpr uint32_t kMagic = 0x31706374;  // "tcp1"
constexpr uint32_t kMaxRails = 64;

// One rail in an address; little endian.
struct WireRail {
  uint8_t family;  // SocketAddress::Family
  uint8_t prefix_bits;
  uint8_t unused[2];
  uint32_t scope_id;
  uint8_t ip[16];
  char interface[16];
};
static_assert(sizeof(WireRail) == 40);
struct WireHead {
  uint32_t magic;
  uint16_t port;
  uint16_t n_rails;
  uint64_t host_id;
};
static_assert(sizeof(WireHead) == 16);

bool same_network(const Rail& a, const Rail& b) noexcept {
  if (a.address.family != b.address.family || a.prefix_bits != b.prefix_bits) return false;
  for (int bit = 0; bit < a.prefix_bits; bit += 8) {
    const int bits = std::min(8, a.prefix_bits - bit);
    const auto mask = static_cast<uint8_t>(0xff << (8 - bits));
    if (((a.address.ip[bit / 8] ^ b.address.ip[bit / 8]) & mask) != 0) return false;
  }
  return true;
}

int count_bits(const void* bytes, size_t n) noexcept {
  const auto* p = static_cast<const uint8_t*>(bytes);
  int bits = 0;
  for (size_t i = 0; i < n; ++i) bits += std::popcount(p[i]);
  return bits;
}

// False when it is of no family that we use.
bool read_address(const ifaddrs& entry, Rail* rail) {
  if (entry.ifa_addr == nullptr || entry.ifa_netmask == nullptr) return false;
  rail->interface = entry.ifa_name;
  if (entry.ifa_addr->sa_family == AF_INET) {
    const auto* in = reinterpret_cast<const sockaddr_in*>(entry.ifa_addr);
    const auto* mask = reinterpret_cast<const sockaddr_in*>(entry.ifa_netmask);
    rail->address.family = Family::kIpv4;
    std::memcpy(rail->address.ip, &in->sin_addr, 4);
    rail->prefix_bits = count_bits(&mask->sin_addr, 4);
    return true;
  }
  if (entry.ifa_addr->sa_family == AF_INET6) {
    const auto* in = reinterpret_cast<const sockaddr_in6*>(entry.ifa_addr);
    const auto* mask = reinterpret_cast<const sockaddr_in6*>(entry.ifa_netmask);
    rail->address.family = Family::kIpv6;
    std::memcpy(rail->address.ip, &in->sin6_addr, 16);
    rail->address.scope_id = in->sin6_scope_id;
    rail->prefix_bits = count_bits(&mask->sin6_addr, 16);
    return true;
  }
  return false;
}

// IPv4 first, then IPv6 of a wider scope than the link.
int rank_of(const SocketAddress& a) noexcept {
  if (a.family == Family::kIpv4) return 0;
  const bool link_local = a.ip[0] == 0xfe && (a.ip[1] & 0xc0) == 0x80;
  return link_local ? 2 : 1;
}

SocketAddress loopback(Family family, uint16_t port) noexcept {
  SocketAddress address;
  address.family = family;
  address.port = port;
  if (family == Family::kIpv4) {
    address.ip[0] = 127;
    address.ip[3] = 1;
  } else {
    address.ip[15] = 1;
  }
  return address;
}

}  // namespace

std::vector<Rail> find_rails(const std::string& choice, std::vector<std::string>* skipped) {
  ifaddrs* first = nullptr;
  if (::getifaddrs(&first) != 0) throw system_error("can't list the network interfaces", errno);
  const std::unique_ptr<ifaddrs, decltype(&::freeifaddrs)> all(first, ::freeifaddrs);
  std::vector<Rail> rails, loopbacks;
  for (const ifaddrs* entry = first; entry != nullptr; entry = entry->ifa_next) {
    Rail rail;
    if (!read_address(*entry, &rail)) continue;
    const auto skip = [&](const char* why) { skipped->push_back(rail.interface + ": " + why); };
    if ((entry->ifa_flags & IFF_UP) == 0) {
      skip("it is down");
    } else if (!interface_chosen(choice, rail.interface)) {
      skip("TUTTI_SOCKET_IFNAME leaves it out");
    } else if ((entry->ifa_flags & IFF_LOOPBACK) != 0) {
      loopbacks.push_back(rail);
    } else if ((choice.empty() || choice.front() == '^') && rail.interface.starts_with("docker")) {
      skip("it is docker's bridge, which other hosts don't see");
    } else {
      rails.push_back(rail);
    }
  }
  if (rails.empty()) rails = loopbacks;
  std::stable_sort(rails.begin(), rails.end(), [](const Rail& a, const Rail& b) {
    return std::pair(a.interface, rank_of(a.address)) < std::pair(b.interface, rank_of(b.address));
  });
  const auto same = [](const Rail& a, const Rail& b) { return a.interface == b.interface; };
  rails.erase(std::unique(rails.begin(), rails.end(), same), rails.end());
  if (rails.size() > kMaxRails) rails.resize(kMaxRails);
  if (rails.empty()) {
    throw Error(StatusCode::kSystemError,
                "no network interface is up" +
                    (choice.empty() ? std::string()
                                    : " and chosen by TUTTI_SOCKET_IFNAME='" + choice + "'"));
  }
  return rails;
}

std::vector<std::byte> encode(const RankAddress& address) {
  const WireHead head{kMagic, address.port, static_cast<uint16_t>(address.rails.size()),
                      address.host_id};
  std::vector<std::byte> bytes(sizeof head + address.rails.size() * sizeof(WireRail));
  std::memcpy(bytes.data(), &head, sizeof head);
  std::byte* at = bytes.data() + sizeof head;
  for (const Rail& rail : address.rails) {
    WireRail wire{};
    wire.family = static_cast<uint8_t>(rail.address.family);
    wire.prefix_bits = static_cast<uint8_t>(rail.prefix_bits);
    wire.scope_id = rail.address.scope_id;
    std::memcpy(wire.ip, rail.address.ip, sizeof wire.ip);
    rail.interface.copy(wire.interface, sizeof wire.interface - 1);
    std::memcpy(at, &wire, sizeof wire);
    at += sizeof wire;
  }
  return bytes;
}

RankAddress decode(std::span<const std::byte> bytes) {
  WireHead head{};
  if (bytes.size() >= sizeof head) std::memcpy(&head, bytes.data(), sizeof head);
  if (head.magic != kMagic || head.n_rails > kMaxRails ||
      bytes.size() != sizeof head + head.n_rails * sizeof(WireRail)) {
    throw Error(StatusCode::kInvalidArgument, "expected a tcp address of a rank; got " +
                                                  std::to_string(bytes.size()) +
                                                  " bytes that are none");
  }
  RankAddress address{.host_id = head.host_id, .port = head.port, .rails = {}};
  for (size_t i = 0; i < head.n_rails; ++i) {
    WireRail wire{};
    std::memcpy(&wire, bytes.data() + sizeof head + i * sizeof wire, sizeof wire);
    Rail rail;
    const bool v4 = wire.family == static_cast<uint8_t>(Family::kIpv4);
    const bool v6 = wire.family == static_cast<uint8_t>(Family::kIpv6);
    if ((!v4 && !v6) || wire.prefix_bits > (v4 ? 32 : 128))
      throw Error(StatusCode::kInvalidArgument, "a tcp address of a rank with a malformed rail");
    rail.address.family = v4 ? Family::kIpv4 : Family::kIpv6;
    rail.address.port = head.port;
    rail.address.scope_id = wire.scope_id;
    std::memcpy(rail.address.ip, wire.ip, sizeof wire.ip);
    rail.prefix_bits = wire.prefix_bits;
    rail.interface.assign(wire.interface, ::strnlen(wire.interface, sizeof wire.interface));
    address.rails.push_back(std::move(rail));
  }
  return address;
}

std::vector<RailPair> pair_rails(const RankAddress& mine, const RankAddress& theirs) {
  if (mine.host_id == theirs.host_id) {
    const bool v4 = std::ranges::any_of(
        theirs.rails, [](const Rail& r) { return r.address.family == Family::kIpv4; });
    const SocketAddress to = loopback(v4 ? Family::kIpv4 : Family::kIpv6, theirs.port);
    return {{.rail = 0, .from = {}, .to = to}};
  }
  std::vector<RailPair> pairs;
  std::vector<bool> used(theirs.rails.size());
  const auto pair_up = [&](auto fits) {
    for (size_t i = 0; i < mine.rails.size(); ++i) {
      for (size_t j = 0; j < theirs.rails.size(); ++j) {
        const Rail& a = mine.rails[i];
        const Rail& b = theirs.rails[j];
        if (used[j] || a.address.family != b.address.family || is_loopback(a.address) ||
            is_loopback(b.address) || !fits(i, j)) {
          continue;
        }
        used[j] = true;
        SocketAddress from = a.address;
        from.port = 0;
        SocketAddress to = b.address;
        // The index of a link-local address's interface is this host's own.
        if (to.scope_id != 0) to.scope_id = a.address.scope_id;
        pairs.push_back({static_cast<int>(i), from, to});
        break;
      }
    }
  };
  pair_up([&](size_t i, size_t j) { return same_network(mine.rails[i], theirs.rails[j]); });
  if (pairs.empty()) pair_up([](size_t i, size_t j) { return i == j; });
  if (pairs.empty()) pair_up([](size_t, size_t) { return true; });
  return pairs;
}

}  // namespace tutti::transport::tcp
