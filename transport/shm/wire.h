// SPDX-License-Identifier: Apache-2.0
// The packets that the shm hubs of two processes of one host exchange over a SOCK_SEQPACKET socket.
//
// A link goes from the hub that connected (the client) to the hub that listens (the server). Its
// first packet is kHello; after it the client sends kConnect, kCancel, kWant, and the server
// kAccepted, kRefused, kExposed. kRegion and kUnmap go both ways: they are about memory of the
// process that sends them. Both ends run on one host, so integers are in its byte order.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <optional>
#include <span>
#include <type_traits>

#include "src/base/liveness.h"
#include "transport/bell_page.h"
#include "transport/transport.h"

namespace tutti::transport::shm {

inline constexpr uint32_t kMagic = 0x74757431;  // "1tut"
inline constexpr uint16_t kVersion = 2;         // of every struct below

enum class PacketType : uint16_t {
  kHello = 1,
  kConnect,
  kCancel,
  kAccepted,
  kRefused,
  kRegion,
  kUnmap,
  kWant,
  kExposed,
};

struct PacketHeader {
  uint32_t magic = kMagic;
  uint16_t version = kVersion;
  PacketType type = PacketType::kHello;
};

using Token = std::array<uint8_t, 16>;

// What Transport::address() of shm holds. Who does not know the token can't open a link.
struct Address {
  uint32_t magic = kMagic;
  uint16_t version = kVersion;
  uint16_t reserved = 0;
  char name[48] = {};  // the listener's abstract name, NUL-terminated
  Token token{};
  auto operator<=>(const Address&) const = default;
};

// Bytes at a known place in a process, read together with its memory: after exec() or a reused pid
// they differ.
struct Cookie {
  uint64_t address = 0;
  uint64_t value = 0;
};

// The id of a connection, without padding.
struct WireId {
  uint64_t comm_id = 0;
  int32_t source_rank = 0;
  int32_t sink_rank = 0;
  int32_t channel = 0;
  uint32_t reserved = 0;
};
constexpr WireId to_wire(const ConnectionId& id) noexcept {
  return {id.comm_id, id.source_rank, id.sink_rank, id.channel, 0};
}
constexpr ConnectionId from_wire(const WireId& id) noexcept {
  return {id.comm_id, id.source_rank, id.sink_rank, id.channel};
}

struct HelloPacket {
  PacketHeader header{.type = PacketType::kHello};
  Token token{};
  ProcessIdentity process;
  Cookie cookie;
};

// Descriptors: the connection's memory, the page of the sender's bell.
struct ConnectPacket {
  PacketHeader header{.type = PacketType::kConnect};
  WireId id;
  FifoLayout layout;
  uint32_t reserved = 0;
  BellPlace bell;
};

// The sender has given up before kAccepted.
struct CancelPacket {
  PacketHeader header{.type = PacketType::kCancel};
  WireId id;
};

// Descriptor: the page of the receiver's bell.
struct AcceptedPacket {
  PacketHeader header{.type = PacketType::kAccepted};
  WireId id;
  BellPlace bell;
  int32_t pull_errno = 0;  // 0: the receiver can read the sender's memory
  uint32_t reserved = 0;
};

enum class Refusal : uint32_t { kNone, kMalformed, kDuplicate, kTooMany, kNoMemory, kUnknown };

struct RefusedPacket {
  PacketHeader header{.type = PacketType::kRefused};
  WireId id;
  Refusal why = Refusal::kUnknown;
  uint32_t reserved = 0;
};

// Descriptor: the region's memory.
struct RegionPacket {
  PacketHeader header{.type = PacketType::kRegion};
  uint64_t region = 0;
  uint64_t bytes = 0;
};

// The region's owner has freed it, or has left its pages: then references to them stay good, and
// writes are lost.
struct UnmapPacket {
  PacketHeader header{.type = PacketType::kUnmap};
  uint64_t region = 0;
  uint32_t freed = 1;
  uint32_t reserved = 0;
};

// Asks for an exported region and the bell of the rank that exported it.
struct WantPacket {
  PacketHeader header{.type = PacketType::kWant};
  uint64_t request = 0;  // echoed
  uint64_t comm_id = 0;
  uint64_t region = 0;
  int32_t rank = 0;
  uint32_t reserved = 0;
};

// Descriptors, unless refused: the region's memory, the page of the rank's bell.
struct ExposedPacket {
  PacketHeader header{.type = PacketType::kExposed};
  uint64_t request = 0;
  uint64_t region = 0;
  uint64_t bytes = 0;
  BellPlace bell;
  Refusal why = Refusal::kNone;
  uint32_t reserved = 0;
};

static_assert(sizeof(PacketHeader) == 8 && sizeof(Address) == 72 && sizeof(WireId) == 24 &&
              sizeof(BellPlace) == 24);
static_assert(sizeof(ProcessIdentity) == 32 && sizeof(FifoLayout) == 12);
static_assert(sizeof(HelloPacket) == 72 && offsetof(HelloPacket, process) == 24);
static_assert(sizeof(ConnectPacket) == 72 && offsetof(ConnectPacket, bell) == 48);
static_assert(sizeof(CancelPacket) == 32 && sizeof(AcceptedPacket) == 64 &&
              sizeof(RefusedPacket) == 40);
static_assert(sizeof(RegionPacket) == 24 && sizeof(UnmapPacket) == 24);
static_assert(sizeof(WantPacket) == 40 && sizeof(ExposedPacket) == 64);

inline constexpr size_t kMaxPacketBytes = 128;

template <typename Packet>
std::span<const std::byte> bytes_of(const Packet& packet) noexcept {
  static_assert(std::is_trivially_copyable_v<Packet> && sizeof(Packet) <= kMaxPacketBytes);
  return std::as_bytes(std::span(&packet, 1));
}

// nullopt when the size is not the type's.
template <typename Packet>
std::optional<Packet> parse(std::span<const std::byte> bytes) noexcept {
  static_assert(std::is_trivially_copyable_v<Packet>);
  if (bytes.size() != sizeof(Packet)) return std::nullopt;
  Packet packet;
  std::memcpy(&packet, bytes.data(), sizeof packet);
  return packet;
}

}  // namespace tutti::transport::shm
