// SPDX-License-Identifier: Apache-2.0
// What ranks tell each other before queue pairs are connected: the carrier's address, and the
// messages of the side channel.
//
// Side channel, one TCP connection per path; it stays open as long as the path, and its end tells
// that the peer's process is gone or has closed the path:
//   host    -> visitor  Challenge
//   visitor -> host     Visit
//   host    -> visitor  Answer
// Both proofs are HMAC-SHA-512/256 with the communicator's secret over: purpose (16 bytes), who
// speaks (1), the host's nonce, the visitor's nonce, QueuePairFacts.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <span>
#include <string>
#include <type_traits>
#include <vector>

#include "src/base/socket.h"
#include "transport/rdma/settings.h"

namespace tutti::transport::rdma {

struct CarrierAddress {
  int queue_pairs = 1;                   // per pair of rails that this rank would have
  std::vector<SocketAddress> listeners;  // of the side channel, at most kMaxListeners
  std::vector<RailAddress> rails;        // at most kMaxRails
};
inline constexpr size_t kMaxListeners = 8;

std::vector<std::byte> encode(const CarrierAddress& address);
// False, with what is wrong, for anything that encode() does not make.
bool decode(std::span<const std::byte> bytes, CarrierAddress* address, std::string* why);

// The peer's listeners, those first that share the longest beginning with an address of ours.
std::vector<SocketAddress> by_nearness(std::span<const SocketAddress> theirs,
                                       std::span<const SocketAddress> ours);

using Nonce = std::array<std::byte, 32>;
using Mac = std::array<std::byte, 32>;
using Token = std::array<std::byte, 16>;
using Secret = std::array<std::byte, 32>;

// One end of a queue pair. Little endian, no padding.
struct QueuePairFacts {
  uint32_t queue_pair = 0;
  uint32_t first_packet = 0;  // packet sequence number
  int32_t rank = -1;
  uint32_t receives = 0;       // messages that it has buffers for
  uint32_t receive_bytes = 0;  // of each buffer
  uint16_t lid = 0;
  uint8_t mtu = 0;        // verbs' code: 1 is 256 bytes, 5 is 4096
  uint8_t own_rail = 0;   // of who speaks
  uint8_t peer_rail = 0;  // of who listens
  uint8_t refused = 0;    // `reason` says why
  uint8_t fabric = 0;
  uint8_t reserved = 0;
  Gid gid{};
  Token token{};  // by which rdma_cm's request is known again, where it connects
  char reason[200] = {};
};
static_assert(sizeof(QueuePairFacts) == 260 && std::is_trivially_copyable_v<QueuePairFacts>);

struct Challenge {
  char magic[8] = {'T', 'U', 'T', 'R', 'D', 'M', 'A', '1'};
  Nonce nonce{};
};
struct Visit {
  Nonce nonce{};
  QueuePairFacts facts;
  Mac mac{};
};
struct Answer {
  QueuePairFacts facts;
  Mac mac{};
};
static_assert(sizeof(Challenge) == 40 && sizeof(Visit) == 324 && sizeof(Answer) == 292);

enum class Speaker : uint8_t { kVisitor = 1, kHost = 2 };
Nonce random_nonce();  // throws SystemError when libsodium can't be initialised
Token random_token();
uint32_t random_packet_number();  // 24 bits
Mac prove(const Secret& secret, Speaker speaker, const Nonce& host, const Nonce& visitor,
          const QueuePairFacts& facts) noexcept;
bool proves(const Mac& mac, const Secret& secret, Speaker speaker, const Nonce& host,
            const Nonce& visitor, const QueuePairFacts& facts) noexcept;
// Is it something that a peer of this version says? False, with what is wrong.
bool plausible(const QueuePairFacts& facts, std::string* why);

}  // namespace tutti::transport::rdma
