// SPDX-License-Identifier: Apache-2.0
// Picks ports and addresses, and tries them.
#include "perf/hosts/rendezvous.h"

#include <algorithm>
#include <optional>
#include <span>

#include <spdlog/fmt/fmt.h>
#include <sys/random.h>

#include "perf/hosts/secret.h"
#include "src/base/config.h"
#include "src/base/error.h"

namespace tutti::command {
namespace {

// Below the ports that systems give to outgoing connections (32768 on), above those of services.
constexpr uint16_t kFirstPort = 20000;
constexpr uint16_t kLastPort = 32000;
// Each communicator that is made from the launcher's variables uses the next port.
constexpr uint16_t kPortsInARow = 8;
constexpr int kAttempts = 64;
constexpr size_t kMaxAddresses = 16;

std::optional<Listener> try_listen(uint16_t port) {
  // An IPv6 socket takes IPv4 too, where there is IPv6.
  for (const char* any : {"[::]", "0.0.0.0"}) {
    try {
      return Listener::bind(SocketAddress::parse(fmt::format("{}:{}", any, port)),
                            SocketKind::kStream);
    } catch (const Error&) {
      // taken, or no such family: the caller tries the next
    }
  }
  return std::nullopt;
}

bool are_free(uint16_t first) {
  for (uint16_t i = 0; i < kPortsInARow; ++i)
    if (!try_listen(static_cast<uint16_t>(first + i))) return false;
  return true;
}

uint16_t free_port() {
  for (int attempt = 0; attempt < kAttempts; ++attempt) {
    uint16_t random = 0;
    if (getrandom(&random, sizeof random, 0) != sizeof random) continue;
    const auto port = static_cast<uint16_t>(kFirstPort + random % (kLastPort - kFirstPort));
    if (are_free(port)) return port;
  }
  throw Error(StatusCode::kSystemError,
              fmt::format("found no {} free TCP ports in a row from {} to {}; name one by --port",
                          kPortsInARow, kFirstPort, kLastPort));
}

std::string without_port(const SocketAddress& address) {
  std::string text = address.to_string();
  text.resize(text.rfind(':'));
  return text.starts_with('[') ? text.substr(1, text.size() - 2) : text;
}

bool is_link_local(const SocketAddress& address) {
  return address.family == SocketAddress::Family::kIpv6 && address.ip[0] == 0xfe &&
         (address.ip[1] & 0xc0) == 0x80;
}

// The address that ssh was reached at goes first: somebody has reached it.
std::vector<std::string> addresses_of_this_host(const std::string& interface_prefix) {
  std::vector<std::string> found;
  for (const SocketAddress& address : local_addresses(interface_prefix))
    if (!is_loopback(address) && !is_link_local(address)) found.push_back(without_port(address));
  const std::string ssh = foreign_variable("SSH_CONNECTION").value_or("");
  const auto reached = std::ranges::find_if(found, [&](const std::string& address) {
    return (ssh + ' ').find(' ' + address + ' ') != std::string::npos;
  });
  if (reached != found.end()) std::rotate(found.begin(), reached, reached + 1);
  if (found.size() > kMaxAddresses) found.resize(kMaxAddresses);
  if (found.empty()) {
    throw Error(
        StatusCode::kSystemError,
        "rank 0's host has no address that others could reach: no interface that is up and "
        "not the loopback" +
            (interface_prefix.empty() ? "" : " and begins with '" + interface_prefix + "'"));
  }
  return found;
}

}  // namespace

MeetingPlace::MeetingPlace(const std::string& interface_prefix, int port)
    : offer_{.port = port == 0 ? free_port() : static_cast<uint16_t>(port),
             .token = random_secret(),
             .addresses = addresses_of_this_host(interface_prefix)} {
  std::optional<Listener> listener = try_listen(offer_.port);
  if (!listener) {
    throw Error(StatusCode::kSystemError,
                fmt::format("TCP port {} of rank 0's host is taken; leave --port out, or name "
                            "another",
                            offer_.port));
  }
  listener_ = std::move(*listener);
}

void MeetingPlace::answer() {
  constexpr int64_t kPatienceNs = kNsPerSecond / 10;  // the buffer of a new connection takes it
  while (std::optional<Socket> visitor = listener_.try_accept()) {
    try {
      visitor->send_all(std::as_bytes(std::span(offer_.token)), Deadline::after_ns(kPatienceNs));
    } catch (const Error&) {
      // it has hung up: it says so itself
    }
  }
}

std::string visit(const std::string& address, uint16_t port, const std::string& token,
                  Deadline deadline) {
  try {
    Socket socket = Socket::connect(resolve(address, port), SocketKind::kStream, deadline);
    std::string got(token.size(), '\0');
    socket.receive_all(std::as_writable_bytes(std::span(got)), deadline);
    return got == token ? "" : "another program answered there";
  } catch (const Error& error) {
    return error.what();
  }
}

}  // namespace tutti::command
