// SPDX-License-Identifier: Apache-2.0
// Unique ids that every process of a launch makes for itself, and the root that rank 0's process
// starts for each.
#include <algorithm>
#include <fstream>
#include <optional>
#include <string>

#include <spdlog/fmt/fmt.h>

#include "src/base/config.h"
#include "src/base/error.h"
#include "src/base/liveness.h"
#include "src/base/wait.h"
#include "src/bootstrap/auth.h"
#include "src/bootstrap/bootstrap.h"
#include "src/bootstrap/launch_exchange.h"
#include "src/bootstrap/root.h"

namespace tutti::bootstrap {
namespace {

constexpr size_t kMinSecretBytes = 16;
constexpr size_t kMaxSecretBytes = 4096;
constexpr const char* kWhiteSpace = " \t\r\n";
constexpr const char* kPodPort = "29600";
constexpr int64_t kResolveAgainNs = kNsPerSecond / 2;
constexpr uint64_t kMaxPort = 65535;
constexpr size_t kNameBytes = 16;  // of the hash that names the socket

// One host. The name and the key follow from the job's name, which is no secret: gates and visitors
// check the user at the other end instead (check_peer_user).
UniqueIdFields local_fields(const Launch& launch, uint64_t sequence) {
  if (launch.job.empty()) {
    throw Error(StatusCode::kInvalidUsage,
                fmt::format("the launcher ({}) gave the job no name; set TUTTI_JOB to one that "
                            "only this job has, the same "
                            "in all its processes",
                            launch.launcher));
  }
  const std::string job =
      fmt::format("{}|{}|{}|{}", launch.launcher, launch.job, this_process().uid, sequence);
  const Key name = derive_key("tutti launch name", job);
  std::string text = "@tutti-";
  for (size_t i = 0; i < kNameBytes; ++i)
    text += fmt::format("{:02x}", std::to_integer<unsigned>(name[i]));
  return {.address = SocketAddress::parse(text), .key = derive_key("tutti launch key", job)};
}

// In a cluster of pods, the name of one that is not yet ready is unknown for a while.
bool names_come_late(const Launch& launch) {
  return launch.launcher == "kubernetes" || foreign_variable("KUBERNETES_SERVICE_HOST").has_value();
}

SocketAddress master_address(const Launch& launch, const std::string& host, uint16_t port) {
  const int64_t limit_ns = config_from_environment().local.init_timeout_ns;
  const Deadline deadline = !names_come_late(launch) ? Deadline::at_ns(0)
                            : limit_ns > 0           ? Deadline::after_ns(limit_ns)
                                                     : Deadline::never();
  for (;;) {
    try {
      return resolve(host, port);
    } catch (const Error& error) {
      if (!deadline.expired()) {
        sleep_ns(kResolveAgainNs);
        continue;
      }
      throw Error(StatusCode::kInvalidUsage,
                  fmt::format("MASTER_ADDR={}; set it to a name or address of rank 0's host",
                              error.what()));
    }
  }
}

// MASTER_ADDR. Pods of an indexed Job are called JOB-INDEX, and JOB-INDEX.SERVICE is known to all
// of them when a headless service is the Job's subdomain. Empty: nobody says.
std::string master_host(const Launch& launch) {
  std::string given = foreign_variable("MASTER_ADDR").value_or("");
  const std::string service = foreign_variable("TUTTI_SERVICE").value_or("");
  if (!given.empty() || launch.launcher != "kubernetes" || service.empty()) return given;
  const std::string own = host_name();
  const std::string index = "-" + std::to_string(launch.rank);
  if (!own.ends_with(index)) {
    throw Error(StatusCode::kInvalidUsage,
                fmt::format("pod '{}' has JOB_COMPLETION_INDEX={}, expected a host name that ends "
                            "with '{}'; set MASTER_ADDR to the name of the pod with index 0",
                            own, launch.rank, index));
  }
  return own.substr(0, own.size() - index.size()) + "-0." + service;
}

uint16_t listening_port(const Launch& launch, uint64_t sequence) {
  const auto port_text = foreign_variable("TUTTI_PORT");
  const std::string name = port_text.has_value() ? "TUTTI_PORT" : "MASTER_PORT";
  // A pod has its ports for itself.
  const std::string usual = launch.launcher == "kubernetes" ? kPodPort : "";
  const std::string text =
      port_text.has_value() ? *port_text : foreign_variable("MASTER_PORT").value_or(usual);
  uint64_t port = 0;
  for (const char c : text) {
    if (c < '0' || c > '9' || port > kMaxPort) port = kMaxPort + 1;
    if (port <= kMaxPort) port = 10 * port + static_cast<uint64_t>(c - '0');
  }
  if (!port_text.has_value() && foreign_variable("MASTER_PORT"))
    ++port;  // MASTER_PORT itself is the launcher's
  if (text.empty() || port == 0 || port > kMaxPort || sequence > kMaxPort - port) {
    throw Error(StatusCode::kInvalidUsage,
                fmt::format("{}='{}' leaves no port for rendezvous number {}; set TUTTI_PORT to "
                            "the first of a range of free "
                            "ports on rank 0's host",
                            name, text, sequence));
  }
  return static_cast<uint16_t>(port + sequence);
}

// TUTTI_KEY, or what is in the file TUTTI_KEY_FILE (a mounted secret), without white space around
// it. Never shown.
std::optional<std::string> given_secret() {
  std::string secret;
  std::string name = "TUTTI_KEY";
  if (const auto key = foreign_variable("TUTTI_KEY"); key.has_value() && !key->empty()) {
    secret = *key;
  } else if (const auto path = foreign_variable("TUTTI_KEY_FILE");
             path.has_value() && !path->empty()) {
    name = "TUTTI_KEY_FILE=" + *path;
    std::ifstream file(*path, std::ios::binary);
    if (!file) {
      throw Error(StatusCode::kInvalidUsage,
                  fmt::format("{} can't be read; is the secret mounted, and readable by user {}?",
                              name, this_process().uid));
    }
    std::getline(file, secret, '\0');
    if (secret.size() > kMaxSecretBytes) secret.resize(kMaxSecretBytes);
    const size_t begin = secret.find_first_not_of(kWhiteSpace);
    const size_t end = secret.find_last_not_of(kWhiteSpace);
    secret = begin == std::string::npos ? "" : secret.substr(begin, end - begin + 1);
  } else {
    return std::nullopt;
  }
  if (secret.size() >= kMinSecretBytes) return secret;
  throw Error(StatusCode::kInvalidUsage,
              fmt::format("{} holds a secret of {} characters; at least {} characters are needed",
                          name, secret.size(), kMinSecretBytes));
}

// Several hosts without a launcher's key-value space: rank 0's host and a secret must be told.
UniqueIdFields remote_fields(const Launch& launch, const std::string& secret, uint64_t sequence) {
  const std::string master = master_host(launch);
  if (master.empty()) {
    throw Error(
        StatusCode::kInvalidUsage,
        fmt::format("the {} ranks of this job ({}) meet over TCP, with the secret that is "
                    "set: set MASTER_ADDR to rank 0's host{} in all processes",
                    launch.size, launch.launcher,
                    foreign_variable("MASTER_PORT") ? "" : " and TUTTI_PORT to a free port of it"));
  }
  return {.address = master_address(launch, master, listening_port(launch, sequence)),
          .key = derive_key("tutti secret", fmt::format("{}|{}", sequence, secret))};
}

[[noreturn]] void throw_advice(const Launch& launch, const std::string& why_no_exchange) {
  throw Error(
      StatusCode::kInvalidUsage,
      fmt::format("the {} ranks of this job ({}) are on several hosts, and its launcher passes "
                  "nothing between them ({}): set TUTTI_KEY to a secret of at least {} characters "
                  "(or TUTTI_KEY_FILE to a file with it), MASTER_ADDR to rank 0's host{} in all "
                  "processes, or pass a unique id yourself",
                  launch.size, launch.launcher, why_no_exchange, kMinSecretBytes,
                  foreign_variable("MASTER_PORT") ? "" : " and TUTTI_PORT to a free port of it"));
}

}  // namespace

UniqueId launch_unique_id(const Launch& launch, uint64_t sequence) {
  // Every rank must choose alike: by sizes and by a variable that is set for all, not by what is
  // local to one host.
  const bool one_host = launch.local_size == launch.size && !foreign_variable("TUTTI_PORT");
  const std::optional<std::string> secret = one_host ? std::nullopt : given_secret();
  if (!one_host && !secret.has_value()) {
    if (const auto why = why_no_exchange(launch)) throw_advice(launch, *why);
    return exchanged_unique_id(launch, sequence);
  }
  const UniqueIdFields fields =
      one_host ? local_fields(launch, sequence) : remote_fields(launch, *secret, sequence);
  if (launch.rank == 0) {
    SocketAddress at = fields.address;
    // Rank 0's host may know itself by another address (127.0.1.1) than the others do: listen on
    // all.
    if (!one_host) std::fill(std::begin(at.ip), std::end(at.ip), uint8_t{0});
    Root::start(at, fields.key);
  }
  return pack(fields);
}

}  // namespace tutti::bootstrap
