// SPDX-License-Identifier: Apache-2.0
// The unique id's 128 bytes, and making one with a root behind it.
#include <algorithm>

#include "src/base/error.h"
#include "src/base/hash.h"
#include "src/bootstrap/auth.h"
#include "src/bootstrap/bootstrap.h"
#include "src/bootstrap/root.h"
#include "src/bootstrap/wire.h"

namespace tutti::bootstrap {
namespace {

constexpr std::string_view kMagic{"TUTTI\0", 6};
constexpr uint16_t kVersion = 1;
constexpr size_t kCheckedBytes =
    119;  // magic 6, version 2, address 79, key 32; the checksum (8) follows

uint64_t checksum(std::span<const std::byte> bytes) {
  Hasher hasher;
  hasher.bytes(bytes.data(), bytes.size());
  return hasher.finish();
}

}  // namespace

UniqueId pack(const UniqueIdFields& fields) {
  Encoder out;
  out.raw(std::as_bytes(std::span(kMagic)));
  out.integer(kVersion);
  out.raw(encode(fields.address));
  out.raw(fields.key);
  Bytes bytes = out.take();
  Encoder tail;
  tail.integer(checksum(bytes));
  const Bytes sum = tail.take();
  bytes.insert(bytes.end(), sum.begin(), sum.end());
  UniqueId id;
  std::copy(bytes.begin(), bytes.end(), id.bytes.begin());
  return id;
}

UniqueIdFields unpack(const UniqueId& id) {
  Decoder in(id.bytes);
  std::array<std::byte, kMagic.size()> magic{};
  uint16_t version = 0;
  UniqueIdFields fields;
  uint64_t sum = 0;
  in.raw(magic);
  in.integer(version);
  decode(in, fields.address);
  in.raw(fields.key);
  in.integer(sum);
  const auto expected = std::as_bytes(std::span(kMagic));
  if (!std::equal(magic.begin(), magic.end(), expected.begin(), expected.end()) ||
      sum != checksum(std::span(id.bytes).first(kCheckedBytes))) {
    throw Error(
        StatusCode::kInvalidArgument,
        "not a Tutti unique id, or damaged in transit: pass all 128 bytes of the id unchanged");
  }
  if (version != kVersion) {
    throw Error(StatusCode::kInvalidArgument, "a unique id of version " + std::to_string(version) +
                                                  ", expected " + std::to_string(kVersion) +
                                                  ": use one version of Tutti in all processes");
  }
  return fields;
}

UniqueId create_unique_id(const std::string& interface_prefix) {
  UniqueIdFields fields;
  fill_random(fields.key);
  const std::vector<SocketAddress> candidates = local_addresses(interface_prefix);
  for (size_t i = 0;; ++i) {
    try {
      fields.address = Root::start(candidates[i], fields.key);
      return pack(fields);
    } catch (const Error& error) {
      if (error.code() != StatusCode::kSystemError || i + 1 == candidates.size()) throw;
    }
  }
}

}  // namespace tutti::bootstrap
