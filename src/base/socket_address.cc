// SPDX-License-Identifier: Apache-2.0
// Socket addresses: text forms, the kernel's form, and the addresses of this host.
#include <ifaddrs.h>
#include <netdb.h>

#include <algorithm>
#include <cerrno>
#include <charconv>
#include <cstddef>
#include <cstring>
#include <memory>
#include <string_view>
#include <tuple>

#include <arpa/inet.h>
#include <net/if.h>
#include <netinet/in.h>
#include <sys/un.h>

#include "src/base/error.h"
#include "src/base/sockaddr.h"

namespace tutti {
namespace {

[[noreturn]] void throw_malformed(const std::string& text, const char* why) {
  throw Error(StatusCode::kInvalidArgument,
              "malformed address '" + text + "': " + why +
                  "; expected 1.2.3.4:567, [::1]:567 or @name (an abstract Unix socket)");
}

uint16_t parse_port(const std::string& text, std::string_view digits) {
  uint16_t port = 0;
  const char* end = digits.data() + digits.size();
  const auto parsed = std::from_chars(digits.data(), end, port);
  if (parsed.ec != std::errc{} || parsed.ptr != end)
    throw_malformed(text, "the port must be 0 to 65535");
  return port;
}

SocketAddress parse_abstract(const std::string& text) {
  SocketAddress address;
  const size_t length = text.size() - 1;
  if (length == 0 || length >= sizeof address.name || text.find('\0') != std::string::npos)
    throw_malformed(text, "the name must have 1 to 63 characters, none of them NUL");
  address.family = SocketAddress::Family::kUnixAbstract;
  text.copy(address.name, length, 1);
  return address;
}

SocketAddress parse_ipv6(const std::string& text) {
  const size_t close = text.find("]:");
  if (close == std::string::npos) throw_malformed(text, "no ']:' after the IPv6 address");
  std::string host = text.substr(1, close - 1);
  SocketAddress address{.family = SocketAddress::Family::kIpv6};
  address.port = parse_port(text, std::string_view(text).substr(close + 2));
  if (const size_t percent = host.find('%'); percent != std::string::npos) {
    const std::string scope = host.substr(percent + 1);
    address.scope_id = ::if_nametoindex(scope.c_str());
    if (address.scope_id == 0) {
      const auto parsed =
          std::from_chars(scope.data(), scope.data() + scope.size(), address.scope_id);
      if (parsed.ec != std::errc{} || parsed.ptr != scope.data() + scope.size()) {
        throw_malformed(text, "no such interface after '%'");
      }
    }
    host.resize(percent);
  }
  if (::inet_pton(AF_INET6, host.c_str(), address.ip) != 1)
    throw_malformed(text, "not an IPv6 address");
  return address;
}

bool is_link_local(const SocketAddress& address) {
  return address.family == SocketAddress::Family::kIpv6 && address.ip[0] == 0xfe &&
         (address.ip[1] & 0xc0) == 0x80;
}

struct InterfaceAddress {
  SocketAddress address;
  bool loopback = false;
};

// IPv4 before IPv6, link-local after routable, loopback last.
auto preference(const InterfaceAddress& a) {
  return std::tuple(a.loopback, is_link_local(a.address), a.address.family);
}

}  // namespace

std::string SocketAddress::to_string() const {
  char host[INET6_ADDRSTRLEN] = {};
  switch (family) {
    case Family::kNone:
      break;
    case Family::kIpv4:
      ::inet_ntop(AF_INET, ip, host, sizeof host);
      return std::string(host) + ":" + std::to_string(port);
    case Family::kIpv6: {
      ::inet_ntop(AF_INET6, ip, host, sizeof host);
      const std::string scope = scope_id == 0 ? "" : "%" + std::to_string(scope_id);
      return "[" + std::string(host) + scope + "]:" + std::to_string(port);
    }
    case Family::kUnixAbstract:
      return "@" + std::string(name, ::strnlen(name, sizeof name));
  }
  return "(no address)";
}

SocketAddress SocketAddress::parse(const std::string& text) {
  if (text.starts_with('@')) return parse_abstract(text);
  if (text.starts_with('[')) return parse_ipv6(text);
  const size_t colon = text.rfind(':');
  if (colon == std::string::npos) throw_malformed(text, "no port");
  SocketAddress address{.family = Family::kIpv4};
  address.port = parse_port(text, std::string_view(text).substr(colon + 1));
  if (::inet_pton(AF_INET, text.substr(0, colon).c_str(), address.ip) != 1) {
    throw_malformed(text, "not an IPv4 address");
  }
  return address;
}

RawAddress to_raw(const SocketAddress& address) {
  RawAddress raw;
  switch (address.family) {
    case SocketAddress::Family::kNone:
      break;
    case SocketAddress::Family::kIpv4: {
      sockaddr_in in{.sin_family = AF_INET, .sin_port = htons(address.port)};
      std::memcpy(&in.sin_addr, address.ip, sizeof in.sin_addr);
      std::memcpy(&raw.storage, &in, sizeof in);
      raw.bytes = sizeof in;
      return raw;
    }
    case SocketAddress::Family::kIpv6: {
      sockaddr_in6 in{.sin6_family = AF_INET6, .sin6_port = htons(address.port)};
      std::memcpy(&in.sin6_addr, address.ip, sizeof in.sin6_addr);
      in.sin6_scope_id = address.scope_id;
      std::memcpy(&raw.storage, &in, sizeof in);
      raw.bytes = sizeof in;
      return raw;
    }
    case SocketAddress::Family::kUnixAbstract: {
      sockaddr_un un{.sun_family = AF_UNIX};
      const size_t length = ::strnlen(address.name, sizeof address.name);
      if (length == 0) break;
      std::memcpy(un.sun_path + 1, address.name, length);  // sun_path[0] == 0: abstract
      std::memcpy(&raw.storage, &un, sizeof un);
      raw.bytes = static_cast<socklen_t>(offsetof(sockaddr_un, sun_path) + 1 + length);
      return raw;
    }
  }
  throw Error(StatusCode::kInvalidArgument, "the address to bind or to connect to is empty");
}

SocketAddress from_raw(const RawAddress& raw) noexcept {
  SocketAddress address;
  if (raw.storage.ss_family == AF_INET) {
    sockaddr_in in{};
    std::memcpy(&in, &raw.storage, sizeof in);
    address.family = SocketAddress::Family::kIpv4;
    address.port = ntohs(in.sin_port);
    std::memcpy(address.ip, &in.sin_addr, sizeof in.sin_addr);
  } else if (raw.storage.ss_family == AF_INET6) {
    sockaddr_in6 in{};
    std::memcpy(&in, &raw.storage, sizeof in);
    address.family = SocketAddress::Family::kIpv6;
    address.port = ntohs(in.sin6_port);
    address.scope_id = in.sin6_scope_id;
    std::memcpy(address.ip, &in.sin6_addr, sizeof in.sin6_addr);
  } else if (raw.storage.ss_family == AF_UNIX) {
    sockaddr_un un{};
    std::memcpy(&un, &raw.storage, sizeof un);
    constexpr size_t kPrefix = offsetof(sockaddr_un, sun_path) + 1;
    if (raw.bytes <= kPrefix || un.sun_path[0] != 0) return address;
    const size_t length = raw.bytes - kPrefix;
    if (length >= sizeof address.name) return address;
    address.family = SocketAddress::Family::kUnixAbstract;
    std::memcpy(address.name, un.sun_path + 1, length);
  }
  return address;
}

bool interface_chosen(std::string_view choice, std::string_view name) noexcept {
  const bool all_but = choice.starts_with('^');
  if (all_but) choice.remove_prefix(1);
  if (choice.empty()) return true;
  while (!choice.empty()) {
    const size_t comma = std::min(choice.find(','), choice.size());
    const std::string_view one = choice.substr(0, comma);
    const bool whole = one.starts_with('=');
    const bool same = whole ? one.substr(1) == name : !one.empty() && name.starts_with(one);
    if (same) return !all_but;
    choice.remove_prefix(std::min(comma + 1, choice.size()));
  }
  return all_but;
}

std::vector<SocketAddress> local_addresses(const std::string& choice) {
  ifaddrs* first = nullptr;
  if (::getifaddrs(&first) != 0) throw system_error("can't list the network interfaces", errno);
  const std::unique_ptr<ifaddrs, decltype(&::freeifaddrs)> owner(first, &::freeifaddrs);

  std::vector<InterfaceAddress> found;
  std::string skipped;
  for (const ifaddrs* entry = first; entry != nullptr; entry = entry->ifa_next) {
    if (entry->ifa_addr == nullptr || (entry->ifa_flags & IFF_UP) == 0) continue;
    const int family = entry->ifa_addr->sa_family;
    if (family != AF_INET && family != AF_INET6) continue;
    if (!interface_chosen(choice, entry->ifa_name)) {
      skipped += std::string(skipped.empty() ? "" : ", ") + entry->ifa_name;
      continue;
    }
    RawAddress raw;
    raw.bytes = family == AF_INET ? sizeof(sockaddr_in) : sizeof(sockaddr_in6);
    std::memcpy(&raw.storage, entry->ifa_addr, raw.bytes);
    found.push_back({from_raw(raw), (entry->ifa_flags & IFF_LOOPBACK) != 0});
  }
  if (found.empty()) {
    throw Error(StatusCode::kSystemError,
                "no network interface that is up, has an IP address and is chosen by "
                "TUTTI_SOCKET_IFNAME='" +
                    choice + "'; other interfaces: " + (skipped.empty() ? "none" : skipped));
  }
  std::ranges::stable_sort(found, {}, preference);
  std::vector<SocketAddress> addresses;
  addresses.reserve(found.size());
  for (const InterfaceAddress& entry : found) addresses.push_back(entry.address);
  return addresses;
}

SocketAddress resolve(const std::string& host, uint16_t port) {
  const addrinfo hints{.ai_family = AF_UNSPEC, .ai_socktype = SOCK_STREAM};
  addrinfo* list = nullptr;
  const int error = ::getaddrinfo(host.c_str(), nullptr, &hints, &list);
  const std::unique_ptr<addrinfo, decltype(&::freeaddrinfo)> owner(list, &::freeaddrinfo);
  if (error != 0 || list == nullptr) {
    throw Error(StatusCode::kInvalidArgument,
                "'" + host + "' can't be resolved (" + ::gai_strerror(error) + ")");
  }
  RawAddress raw;
  raw.bytes = list->ai_addrlen;
  std::memcpy(&raw.storage, list->ai_addr, raw.bytes);
  SocketAddress address = from_raw(raw);
  address.port = port;
  return address;
}

bool is_loopback(const SocketAddress& address) noexcept {
  if (address.family == SocketAddress::Family::kIpv4) return address.ip[0] == 127;
  return address.family == SocketAddress::Family::kIpv6 &&
         std::all_of(address.ip, address.ip + 15, [](uint8_t b) { return b == 0; }) &&
         address.ip[15] == 1;
}

}  // namespace tutti
