// SPDX-License-Identifier: Apache-2.0
// Makes the target's agent and waits for its end.
#include "perf/transfer/target.h"

#include <unistd.h>

#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <memory>
#include <sstream>
#include <stdexcept>

#include "perf/transfer/raw.h"
#include "src/base/config.h"
#include "src/base/socket.h"
#include "tutti/tutti.h"

namespace tutti::transfer_perf {
namespace {

constexpr double kPatienceSeconds = 3600;
constexpr int kDefaultSockets = 2;  // of the tcp transport, per peer and interface

// All of this host, in the order in which they are to be tried.
std::string ipv4_addresses(const LocalConfig& config) {
  std::string text;
  for (const SocketAddress& address : local_addresses(config.interface_prefix)) {
    if (address.family != SocketAddress::Family::kIpv4) continue;
    const std::string with_port = address.to_string();
    text += (text.empty() ? "" : ",") + with_port.substr(0, with_port.find(':'));
  }
  return text;
}

}  // namespace

void require(int result, const char* call) {
  if (result == tuttiSuccess) return;
  std::fprintf(stderr, "transfer_perf: %s: %s\n", call, tuttiGetLastError(nullptr));
  std::exit(2);
}

std::string encode(const Invitation& invitation) {
  std::ostringstream text;
  text << "transfer_perf-1 " << invitation.way << ' ' << invitation.addresses << ' '
       << invitation.raw_port << ' ' << invitation.sockets << ' ' << invitation.pid << ' '
       << invitation.memory << ' ' << invitation.blob.size() << '\n';
  text.write(reinterpret_cast<const char*>(invitation.blob.data()),
             static_cast<std::streamsize>(invitation.blob.size()));
  return text.str();
}

Invitation decode(const std::string& text) {
  std::istringstream in(text);
  std::string magic;
  Invitation invitation;
  size_t bytes = 0;
  in >> magic >> invitation.way >> invitation.addresses >> invitation.raw_port >>
      invitation.sockets >> invitation.pid >> invitation.memory >> bytes;
  if (!in || magic != "transfer_perf-1" || in.get() != '\n' || bytes > TUTTI_AGENT_BLOB_BYTES)
    throw std::runtime_error("that is no invitation of transfer_perf --serve");
  invitation.blob.resize(bytes);
  in.read(reinterpret_cast<char*>(invitation.blob.data()), static_cast<std::streamsize>(bytes));
  if (!in) throw std::runtime_error("the invitation is cut off");
  return invitation;
}

int serve(const std::string& way, void (*hand_out)(const std::string&, void*), void* context) {
  if (way == "tcp") ::setenv("TUTTI_TRANSPORT", "tcp", 1);
  const LocalConfig config = config_from_environment().local;
  Invitation invitation{.way = way, .addresses = ipv4_addresses(config), .pid = ::getpid()};
  invitation.sockets =
      config.tcp_sockets != 0 ? static_cast<int>(config.tcp_sockets) : kDefaultSockets;
  tuttiAgent_t agent = nullptr;
  tuttiAgentConfig_t named = TUTTI_AGENT_CONFIG_INITIALIZER;
  named.name = "transfer_perf target";
  require(tuttiAgentCreate(&agent, &named), "tuttiAgentCreate");
  void* shared = nullptr;
  std::vector<std::byte> plain;
  if (way == "mapped") {
    require(tuttiMemAlloc(&shared, kRegionBytes), "tuttiMemAlloc");
  } else {
    plain.resize(kRegionBytes);
  }
  void* const memory = shared != nullptr ? shared : plain.data();
  std::memset(memory, 1, kRegionBytes);
  invitation.memory = reinterpret_cast<uintptr_t>(memory);
  uint32_t region = 0;
  require(tuttiAgentRegister(agent, memory, kRegionBytes, &region), "tuttiAgentRegister");
  invitation.blob.resize(TUTTI_AGENT_BLOB_BYTES);
  size_t bytes = 0;
  require(tuttiAgentExport(agent, invitation.blob.data(), invitation.blob.size(), &bytes),
          "tuttiAgentExport");
  invitation.blob.resize(bytes);
  {
    StreamServer streams(invitation.sockets);
    invitation.raw_port = streams.port();
    hand_out(encode(invitation), context);
    require(tuttiAgentWaitCounter(agent, kDone, 1, kPatienceSeconds), "tuttiAgentWaitCounter");
  }
  require(tuttiAgentDestroy(agent), "tuttiAgentDestroy");
  if (shared != nullptr) require(tuttiMemFree(shared), "tuttiMemFree");
  return 0;
}

}  // namespace tutti::transfer_perf
