// SPDX-License-Identifier: Apache-2.0
// Which network interfaces of two ranks go together, decided from their addresses alone.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <string>
#include <vector>

#include "src/base/socket.h"

namespace tutti::transport::tcp {

// An address of an interface of this host.
struct Rail {
  std::string interface;  // "eth0"
  SocketAddress address;  // with the port that this rank listens at
  int prefix_bits = 0;    // of its network
};

// The interfaces that are up and chosen (interface_chosen()), each once (IPv4 if it has it),
// without loopback, and without docker's bridges unless `choice` names them; loopback alone when
// there is nothing else. `skipped` gets a sentence for each that is left out. Throws SystemError
// when nothing is left.
std::vector<Rail> find_rails(const std::string& choice, std::vector<std::string>* skipped);

// What a rank tells its peers.
struct RankAddress {
  uint64_t host_id = 0;
  uint16_t port = 0;
  std::vector<Rail> rails;
};
std::vector<std::byte> encode(const RankAddress& address);
RankAddress decode(std::span<const std::byte> bytes);  // throws InvalidArgument

// A way from one of our rails to one of the peer's.
struct RailPair {
  int rail = 0;        // index of ours
  SocketAddress from;  // to bind to; kNone: any
  SocketAddress to;
};
// On one host: loopback. Else each of our rails with the peer's on the same network; where no
// networks are shared, the first with the first, the second with the second.
std::vector<RailPair> pair_rails(const RankAddress& mine, const RankAddress& theirs);

}  // namespace tutti::transport::tcp
