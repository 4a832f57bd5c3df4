// SPDX-License-Identifier: Apache-2.0
// Unique ids that every process of a launch makes for itself, and the root that rank 0's process
// starts for each.
#include <algorithm>

#include <spdlog/fmt/fmt.h>

#include "src/base/config.h"
#include "src/base/error.h"
#include "src/base/liveness.h"
#include "src/bootstrap/auth.h"
#include "src/bootstrap/bootstrap.h"
#include "src/bootstrap/root.h"

namespace tutti::bootstrap {
namespace {

constexpr size_t kMinSecretBytes = 16;
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

SocketAddress master_address(const std::string& host, uint16_t port) {
  try {
    return resolve(host, port);
  } catch (const Error& error) {
    throw Error(
        StatusCode::kInvalidUsage,
        fmt::format("MASTER_ADDR={}; set it to a name or address of rank 0's host", error.what()));
  }
}

uint16_t listening_port(uint64_t sequence) {
  const auto port_text = foreign_variable("TUTTI_PORT");
  const std::string name = port_text.has_value() ? "TUTTI_PORT" : "MASTER_PORT";
  const std::string text =
      port_text.has_value() ? *port_text : foreign_variable("MASTER_PORT").value_or("");
  uint64_t port = 0;
  for (const char c : text) {
    if (c < '0' || c > '9' || port > kMaxPort) port = kMaxPort + 1;
    if (port <= kMaxPort) port = 10 * port + static_cast<uint64_t>(c - '0');
  }
  if (!port_text.has_value()) ++port;  // MASTER_PORT itself is the launcher's
  if (text.empty() || port == 0 || port > kMaxPort || sequence > kMaxPort - port) {
    throw Error(StatusCode::kInvalidUsage,
                fmt::format("{}='{}' leaves no port for rendezvous number {}; set TUTTI_PORT to "
                            "the first of a range of free "
                            "ports on rank 0's host",
                            name, text, sequence));
  }
  return static_cast<uint16_t>(port + sequence);
}

// Several hosts: rank 0's host and a secret must be told.
UniqueIdFields remote_fields(const Launch& launch, uint64_t sequence) {
  const auto secret = foreign_variable("TUTTI_KEY");
  const auto master = foreign_variable("MASTER_ADDR");
  if (!secret.has_value() || secret->size() < kMinSecretBytes || !master.has_value()) {
    throw Error(
        StatusCode::kInvalidUsage,
        fmt::format("the {} ranks of this job ({}) meet over TCP: set TUTTI_KEY to a secret of at "
                    "least {} characters, "
                    "MASTER_ADDR to rank 0's host{} in all processes, or pass a unique id yourself",
                    launch.size, launch.launcher, kMinSecretBytes,
                    foreign_variable("MASTER_PORT") ? "" : " and TUTTI_PORT to a free port of it"));
  }
  return {.address = master_address(*master, listening_port(sequence)),
          .key = derive_key("tutti secret", fmt::format("{}|{}", sequence, *secret))};
}

}  // namespace

UniqueId launch_unique_id(const Launch& launch, uint64_t sequence) {
  // Every rank must choose alike: by sizes and by a variable that is set for all, not by what is
  // local to one host.
  const bool one_host = launch.local_size == launch.size && !foreign_variable("TUTTI_PORT");
  const UniqueIdFields fields =
      one_host ? local_fields(launch, sequence) : remote_fields(launch, sequence);
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
