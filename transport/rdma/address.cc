// SPDX-License-Identifier: Apache-2.0
// Bytes of the carrier's address and of the side channel's messages.
#include "transport/rdma/address.h"

#include <sodium.h>

#include <algorithm>
#include <bit>
#include <cstring>

#include "src/base/error.h"

namespace tutti::transport::rdma {
namespace {

static_assert(std::endian::native == std::endian::little);
static_assert(sizeof(Mac) == crypto_auth_BYTES && sizeof(Secret) == crypto_auth_KEYBYTES);

constexpr uint32_t kVersion = 0x31415201;
constexpr char kPurpose[17] = "tutti rdma pairs";

class Writer {
 public:
  template <typename T>
  void put(const T& value) {
    const auto* const from = reinterpret_cast<const std::byte*>(&value);
    bytes.insert(bytes.end(), from, from + sizeof value);
  }
  std::vector<std::byte> bytes;
};

class Reader {
 public:
  explicit Reader(std::span<const std::byte> bytes) : left_(bytes) {}
  template <typename T>
  T get() {
    T value{};
    if (left_.size() < sizeof value) {
      short_ = true;
      left_ = {};
      return value;
    }
    std::memcpy(&value, left_.data(), sizeof value);
    left_ = left_.subspan(sizeof value);
    return value;
  }
  std::string text(size_t bytes) {
    if (left_.size() < bytes) short_ = true;
    bytes = std::min(bytes, left_.size());
    std::string value(reinterpret_cast<const char*>(left_.data()), bytes);
    left_ = left_.subspan(bytes);
    return value;
  }
  bool exact() const { return !short_ && left_.empty(); }
  bool cut() const { return short_; }

 private:
  std::span<const std::byte> left_;
  bool short_ = false;
};

void put(Writer& to, const RailAddress& rail) {
  to.put(static_cast<uint8_t>(rail.device.size()));
  for (const char c : rail.device) to.put(c);
  to.put(rail.port);
  to.put(rail.fabric);
  to.put(rail.gid);
  to.put(rail.lid);
  to.put(rail.megabits);
  to.put(rail.cm_port);
}

bool get(Reader& from, RailAddress* rail) {
  const size_t length = from.get<uint8_t>();
  if (length == 0 || length > kMaxDeviceName) return false;
  rail->device = from.text(length);
  rail->port = from.get<uint8_t>();
  rail->fabric = from.get<Fabric>();
  rail->gid = from.get<Gid>();
  rail->lid = from.get<uint16_t>();
  rail->megabits = from.get<uint32_t>();
  rail->cm_port = from.get<uint16_t>();
  return to_string(rail->fabric) != "unknown";
}

bool get(Reader& from, SocketAddress* address) {
  const auto family = from.get<SocketAddress::Family>();
  if (family != SocketAddress::Family::kIpv4 && family != SocketAddress::Family::kIpv6)
    return false;
  address->family = family;
  address->port = from.get<uint16_t>();
  const auto ip = from.get<std::array<uint8_t, 16>>();
  std::ranges::copy(ip, address->ip);
  return address->port != 0;
}

int common_bits(const SocketAddress& a, const SocketAddress& b) {
  if (a.family != b.family) return -1;
  const size_t bytes = a.family == SocketAddress::Family::kIpv4 ? 4 : 16;
  for (size_t i = 0; i < bytes; ++i) {
    const auto differ = static_cast<uint8_t>(a.ip[i] ^ b.ip[i]);
    if (differ != 0) return static_cast<int>(i) * 8 + std::countl_zero(differ);
  }
  return static_cast<int>(bytes) * 8;
}

void ensure_sodium() {
  if (::sodium_init() < 0) throw Error(StatusCode::kSystemError, "libsodium can't be initialised");
}

using ProvenBytes = std::array<unsigned char, 16 + 1 + 64 + sizeof(QueuePairFacts)>;
ProvenBytes proven(Speaker speaker, const Nonce& host, const Nonce& visitor,
                   const QueuePairFacts& facts) noexcept {
  ProvenBytes text;
  unsigned char* to = text.data();
  const auto add = [&to](const void* from, size_t bytes) {
    std::memcpy(to, from, bytes);
    to += bytes;
  };
  add(kPurpose, 16);
  add(&speaker, 1);
  add(host.data(), host.size());
  add(visitor.data(), visitor.size());
  add(&facts, sizeof facts);
  return text;
}

const unsigned char* raw(const std::byte* bytes) {
  return reinterpret_cast<const unsigned char*>(bytes);
}

}  // namespace

std::vector<std::byte> encode(const CarrierAddress& address) {
  Writer to;
  to.put(kVersion);
  to.put(static_cast<uint8_t>(address.queue_pairs));
  to.put(static_cast<uint8_t>(address.listeners.size()));
  to.put(static_cast<uint8_t>(address.rails.size()));
  for (const SocketAddress& listener : address.listeners) {
    to.put(listener.family);
    to.put(listener.port);
    to.put(std::to_array(listener.ip));
  }
  for (const RailAddress& rail : address.rails) put(to, rail);
  return std::move(to.bytes);
}

bool decode(std::span<const std::byte> bytes, CarrierAddress* address, std::string* why) {
  Reader from(bytes);
  *address = {};
  if (from.get<uint32_t>() != kVersion) {
    *why = "its address is not one of this version's rdma transport";
    return false;
  }
  address->queue_pairs = from.get<uint8_t>();
  const size_t n_listeners = from.get<uint8_t>();
  const size_t n_rails = from.get<uint8_t>();
  bool good = address->queue_pairs >= 1 && n_listeners >= 1 && n_listeners <= kMaxListeners &&
              n_rails >= 1 && n_rails <= kMaxRails;
  for (size_t i = 0; good && i < n_listeners; ++i)
    good = get(from, &address->listeners.emplace_back());
  for (size_t i = 0; good && i < n_rails; ++i) good = get(from, &address->rails.emplace_back());
  if (good && from.exact()) return true;
  *why = from.cut() ? "its address is cut off" : "its address has values that no rank writes";
  return false;
}

std::vector<SocketAddress> by_nearness(std::span<const SocketAddress> theirs,
                                       std::span<const SocketAddress> ours) {
  std::vector<SocketAddress> sorted(theirs.begin(), theirs.end());
  const auto nearness = [&](const SocketAddress& to) {
    int most = -1;
    for (const SocketAddress& own : ours) most = std::max(most, common_bits(own, to));
    return -most;
  };
  std::ranges::stable_sort(sorted, {}, nearness);
  return sorted;
}

Nonce random_nonce() {
  ensure_sodium();
  Nonce nonce;
  ::randombytes_buf(nonce.data(), nonce.size());
  return nonce;
}

Token random_token() {
  ensure_sodium();
  Token token;
  ::randombytes_buf(token.data(), token.size());
  return token;
}

uint32_t random_packet_number() {
  ensure_sodium();
  return ::randombytes_uniform(1u << 24);
}

Mac prove(const Secret& secret, Speaker speaker, const Nonce& host, const Nonce& visitor,
          const QueuePairFacts& facts) noexcept {
  const ProvenBytes text = proven(speaker, host, visitor, facts);
  Mac mac{};
  ::crypto_auth(reinterpret_cast<unsigned char*>(mac.data()), text.data(), text.size(),
                raw(secret.data()));
  return mac;
}

bool proves(const Mac& mac, const Secret& secret, Speaker speaker, const Nonce& host,
            const Nonce& visitor, const QueuePairFacts& facts) noexcept {
  const ProvenBytes text = proven(speaker, host, visitor, facts);
  return ::crypto_auth_verify(raw(mac.data()), text.data(), text.size(), raw(secret.data())) == 0;
}

bool plausible(const QueuePairFacts& facts, std::string* why) {
  if (std::memchr(facts.reason, 0, sizeof facts.reason) == nullptr) {
    *why = "its reason has no end";
  } else if (facts.refused != 0) {
    *why = facts.reason;
  } else if (facts.mtu < 1 || facts.mtu > 5) {
    *why = "its path MTU has the unknown code " + std::to_string(facts.mtu);
  } else if (facts.receives < 4 || facts.receive_bytes < 128 || facts.receive_bytes > (1u << 20)) {
    *why = "its receive buffers (" + std::to_string(facts.receives) + " of " +
           std::to_string(facts.receive_bytes) + " bytes) are none that a rank has";
  } else if (facts.own_rail >= kMaxRails || facts.peer_rail >= kMaxRails) {
    *why = "it names a rail that can't exist";
  } else {
    return true;
  }
  return false;
}

}  // namespace tutti::transport::rdma
