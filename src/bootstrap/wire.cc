// SPDX-License-Identifier: Apache-2.0
// The byte layouts of wire.h.
#include "src/bootstrap/wire.h"

#include <optional>

#include <spdlog/fmt/fmt.h>

namespace tutti::bootstrap {
namespace {

template <typename Io, typename Address>
void layout(Io& io, Address& address, std::string& name) {
  io.integer(address.family);
  io.integer(address.port);
  io.integer(address.scope_id);
  if (address.family == SocketAddress::Family::kUnixAbstract) {
    io.text(name, kAddressFieldBytes);
  } else {
    io.raw(std::as_writable_bytes(std::span(address.ip)));
    std::byte fill[kAddressFieldBytes - sizeof address.ip] = {};
    io.raw(std::span(fill));
  }
}

template <typename Io>
void address_layout(Io& io, SocketAddress& address) {
  std::string name(address.name, ::strnlen(address.name, sizeof address.name));
  layout(io, address, name);
  const size_t used = std::min(name.size(), sizeof address.name - 1);
  std::copy_n(name.begin(), used, address.name);
  std::fill(address.name + used, address.name + sizeof address.name, '\0');
}

template <typename Io>
void layout(Io& io, Peer& peer) {
  io.integer(peer.rank);
  io.integer(peer.pid);
  io.text(peer.host, kHostNameBytes);
}

template <typename Io>
void layout(Io& io, Registration& m) {
  io.integer(m.protocol);
  io.integer(m.n_ranks);
  io.integer(m.wait_ns);
  layout(io, m.peer);
  io.integer(m.identity.host_id);
  io.integer(m.identity.process_uid);
  io.integer(m.identity.pid);
  io.integer(m.identity.uid);
  io.integer(m.identity.start_ticks);
  address_layout(io, m.address);
}

template <typename Io>
void layout(Io& io, Assignment& m) {
  io.integer(m.code);
  io.integer(m.comm_id);
  io.integer(m.index);
  layout(io, m.parent);
  address_layout(io, m.parent_address);
}

template <typename Io>
void layout(Io& io, Attachment& m) {
  io.integer(m.comm_id);
  io.integer(m.index);
  layout(io, m.peer);
}

template <typename Io>
void layout(Io& io, Lookup& m) {
  io.integer(m.protocol);
  io.integer(m.sequence);
}

template <typename Io>
void layout(Io& io, Listing& m) {
  io.integer(m.code);
  io.integer(m.port);
  io.raw(std::span(m.key));
}

template <typename Io>
void layout(Io& io, Failure& m) {
  io.integer(m.code);
  io.text(m.reason, kReasonBytes);
}

template <typename Io>
void layout(Io& io, FrameHeader& m) {
  io.integer(m.type);
  io.integer(m.sequence);
  io.integer(m.bytes);
}

template <typename T>
Bytes encode_copy(T message) {
  Encoder out;
  layout(out, message);
  return out.take();
}

}  // namespace

std::string Peer::name() const {
  return "rank " + std::to_string(rank) + " (host " + host + ", pid " + std::to_string(pid) + ")";
}

Bytes encode(const SocketAddress& address) {
  SocketAddress copy = address;
  Encoder out;
  address_layout(out, copy);
  return out.take();
}
Bytes encode(const Registration& message) { return encode_copy(message); }
Bytes encode(const Assignment& message) { return encode_copy(message); }
Bytes encode(const Attachment& message) { return encode_copy(message); }
Bytes encode(const Lookup& message) { return encode_copy(message); }
Bytes encode(const Listing& message) { return encode_copy(message); }
Bytes encode(const Failure& message) { return encode_copy(message); }
Bytes encode(const FrameHeader& header) { return encode_copy(header); }

void decode(Decoder& in, SocketAddress& message) { address_layout(in, message); }
void decode(Decoder& in, Registration& message) { layout(in, message); }
void decode(Decoder& in, Assignment& message) { layout(in, message); }
void decode(Decoder& in, Attachment& message) { layout(in, message); }
void decode(Decoder& in, Lookup& message) { layout(in, message); }
void decode(Decoder& in, Listing& message) { layout(in, message); }
void decode(Decoder& in, Failure& message) { layout(in, message); }
void decode(Decoder& in, FrameHeader& header) { layout(in, header); }

Bytes error_frame(const Failure& failure) {
  const Bytes payload = encode(failure);
  Bytes frame = encode(FrameHeader{.type = FrameType::kError, .bytes = payload.size()});
  frame.insert(frame.end(), payload.begin(), payload.end());
  return frame;
}

void append_entry(Encoder& out, int rank, std::span<const std::byte> bytes) {
  out.integer(static_cast<uint32_t>(rank));
  out.integer(static_cast<uint64_t>(bytes.size()));
  out.raw(bytes);
}

std::vector<Bytes> parse_table(std::span<const std::byte> table, int n_ranks) {
  std::vector<std::optional<Bytes>> found(static_cast<size_t>(n_ranks));
  Decoder in(table);
  size_t count = 0;
  for (; count < found.size(); ++count) {
    uint32_t rank = 0;
    uint64_t bytes = 0;
    in.integer(rank);
    in.integer(bytes);
    const std::span<const std::byte> data = in.next(bytes);
    if (!in.ok() || rank >= found.size() || found[rank].has_value()) break;
    found[rank].emplace(data.begin(), data.end());
  }
  if (count != found.size() || !in.at_end()) {
    throw Error(StatusCode::kInternalError,
                fmt::format("a malformed all-gather table: {} good entries in {} bytes, expected "
                            "one per rank of {}",
                            count, table.size(), n_ranks));
  }
  std::vector<Bytes> result;
  result.reserve(found.size());
  for (std::optional<Bytes>& entry : found) result.push_back(std::move(*entry));
  return result;
}

}  // namespace tutti::bootstrap
