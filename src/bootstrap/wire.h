// SPDX-License-Identifier: Apache-2.0
// The messages of the rendezvous and of the tree, little endian; each layout is written once and
// serves both directions.
#pragma once

#include <algorithm>
#include <array>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <span>
#include <string>
#include <type_traits>
#include <vector>

#include "src/base/error.h"
#include "src/base/liveness.h"
#include "src/base/socket.h"

namespace tutti::bootstrap {

using Bytes = std::vector<std::byte>;

inline constexpr uint32_t kProtocolVersion = 2;
inline constexpr size_t kHostNameBytes = 64;
inline constexpr size_t kAddressFieldBytes =
    72;  // IP address (4 or 16 bytes) or abstract name (up to 63), zero fill
inline constexpr size_t kReasonBytes = 1024;
inline constexpr size_t kMaxGatherBytes = size_t{64} << 20;

// Appends fields.
class Encoder {
 public:
  template <typename T>
  requires(std::is_integral_v<T> || std::is_enum_v<T>) void integer(const T& value) {
    const auto wide = static_cast<uint64_t>(value);
    for (size_t i = 0; i < sizeof(T); ++i) out_.push_back(static_cast<std::byte>(wide >> (8 * i)));
  }
  void raw(std::span<const std::byte> bytes) {
    out_.insert(out_.end(), bytes.begin(), bytes.end());
  }
  // NUL-padded, cut to width - 1.
  void text(const std::string& value, size_t width) {
    const size_t used = std::min(value.size(), width - 1);
    raw(std::as_bytes(std::span(value.data(), used)));
    out_.resize(out_.size() + width - used);
  }
  Bytes take() { return std::move(out_); }

 private:
  Bytes out_;
};

// Reads fields. Past the end it yields zeros and ok() turns false.
class Decoder {
 public:
  explicit Decoder(std::span<const std::byte> in) : in_(in) {}
  template <typename T>
  requires(std::is_integral_v<T> || std::is_enum_v<T>) void integer(T& value) {
    const std::span<const std::byte> bytes = next(sizeof(T));
    uint64_t wide = 0;
    for (size_t i = 0; i < bytes.size(); ++i) wide |= static_cast<uint64_t>(bytes[i]) << (8 * i);
    value = static_cast<T>(wide);
  }
  void raw(std::span<std::byte> bytes) {
    const std::span<const std::byte> from = next(bytes.size());
    std::copy(from.begin(), from.end(), bytes.begin());
  }
  void text(std::string& value, size_t width) {
    const std::span<const std::byte> from = next(width);
    const auto* begin = reinterpret_cast<const char*>(from.data());
    value.assign(begin, from.empty() ? 0 : ::strnlen(begin, from.size()));
  }
  // The next `count` bytes; empty when there are fewer.
  std::span<const std::byte> next(size_t count) {
    ok_ = ok_ && count <= in_.size();
    if (!ok_) return {};
    const std::span<const std::byte> taken = in_.first(count);
    in_ = in_.subspan(count);
    return taken;
  }
  bool ok() const { return ok_; }
  bool at_end() const { return in_.empty(); }

 private:
  std::span<const std::byte> in_;
  bool ok_ = true;
};

// Layouts: the fields in the order of declaration, integers in their width, enumerations as their
// type. A socket address is family u8, port u16, scope u32 and a field of kAddressFieldBytes (79
// bytes); a process identity is host id u64, process uid u64, pid i32, user u32, start ticks u64
// (32 bytes); texts are NUL-padded. Each has one size, which a test pins.

// How a process is named in messages. 72 bytes, the host name takes kHostNameBytes.
struct Peer {
  int32_t rank = -1;
  int32_t pid = 0;
  std::string host;
  std::string name() const;  // "rank 3 (host a, pid 12)"
};

// Rank -> root: who I am, how long I wait, where my children reach me. 199 bytes.
struct Registration {
  uint32_t protocol = kProtocolVersion;
  int32_t n_ranks = 0;
  int64_t wait_ns = 0;  // INT64_MAX: no deadline
  Peer peer;
  ProcessIdentity identity;
  SocketAddress address;  // none: a rank that has been here asks how it stands
};

// Root -> rank: where to attach, or a code that says that it may not; then a kError frame follows.
// 167 bytes.
struct Assignment {
  StatusCode code = StatusCode::kOk;
  uint64_t comm_id = 0;
  uint32_t index =
      0;  // order of arrival, which is the place in the tree; 0: stays connected to the root
  Peer parent;
  SocketAddress parent_address;
};

// Rank -> parent, and back as the parent's answer (index and peer are then the parent's). 84 bytes.
struct Attachment {
  uint64_t comm_id = 0;
  uint32_t index = 0;
  Peer peer;
};

// Rank -> directory of a launch: which of the launch's communicators. 12 bytes.
struct Lookup {
  uint32_t protocol = kProtocolVersion;
  uint64_t sequence = 0;
};

// Directory -> rank: the root's port and key, or a code that says that there is none; then a kError
// frame follows. 38 bytes.
struct Listing {
  StatusCode code = StatusCode::kOk;
  uint16_t port = 0;
  std::array<std::byte, 32> key{};
};

// Why a rendezvous or a tree is over; travels to every rank. 1028 bytes.
struct Failure {
  StatusCode code = StatusCode::kRemoteError;
  std::string reason;
};

// Every message after the proofs is a frame: this header (16 bytes), then `bytes` bytes.
enum class FrameType : uint32_t {
  kAttached = 1,  // rank -> root: my parent has me
  kGo = 2,        // down: every rank is attached
  kError = 3,     // both ways: a Failure
  kUp =
      4,  // to the parent: the contributions of my subtree, entries of {rank u32, bytes u64, data}
  kDown = 5,  // to the children: everybody's contributions, the same entries
  kBye = 6,   // both ways: I leave in good order
};
struct FrameHeader {
  FrameType type = FrameType::kBye;
  uint32_t sequence = 0;  // of the all-gather; 0 otherwise
  uint64_t bytes = 0;
};
struct Frame {
  FrameHeader header;
  Bytes payload;
};

Bytes encode(const SocketAddress& address);
Bytes encode(const Registration& message);
Bytes encode(const Assignment& message);
Bytes encode(const Attachment& message);
Bytes encode(const Lookup& message);
Bytes encode(const Listing& message);
Bytes encode(const Failure& message);
Bytes encode(const FrameHeader& header);
void decode(Decoder& in, SocketAddress& message);
void decode(Decoder& in, Registration& message);
void decode(Decoder& in, Assignment& message);
void decode(Decoder& in, Attachment& message);
void decode(Decoder& in, Lookup& message);
void decode(Decoder& in, Listing& message);
void decode(Decoder& in, Failure& message);
void decode(Decoder& in, FrameHeader& header);

template <typename T>
T decode_as(std::span<const std::byte> bytes) {
  Decoder in(bytes);
  T message;
  decode(in, message);
  return message;
}
// All messages above have a fixed size.
template <typename T>
size_t wire_bytes() {
  return encode(T{}).size();
}
Bytes error_frame(const Failure& failure);

// The payload of kUp and kDown: one entry per rank.
inline constexpr size_t kEntryHeaderBytes = 12;  // rank u32, bytes u64
void append_entry(Encoder& out, int rank, std::span<const std::byte> bytes);
// By rank; throws InternalError when a rank is missing, named twice or out of range.
std::vector<Bytes> parse_table(std::span<const std::byte> table, int n_ranks);

}  // namespace tutti::bootstrap
