// SPDX-License-Identifier: Apache-2.0
// Unique ids: the 128 bytes that users pass around. Inputs are shorter or longer, and get the
// checksum that they need when their first byte says so, or none would ever pass it.
#include <algorithm>

#include "src/base/hash.h"
#include "src/bootstrap/bootstrap.h"
#include "tests/fuzz/fuzz.h"

namespace tutti::fuzz {
namespace {

using bootstrap::UniqueId;
using bootstrap::UniqueIdFields;

constexpr size_t kCheckedBytes = 119;
constexpr char kRepair = 'c';

void repair_checksum(UniqueId* id) {
  Hasher hasher;
  hasher.bytes(id->bytes.data(), kCheckedBytes);
  const uint64_t sum = hasher.finish();
  for (size_t i = 0; i < sizeof sum; ++i)
    id->bytes[kCheckedBytes + i] = static_cast<std::byte>(sum >> (8 * i));
}

std::string seed(const std::string& address) {
  UniqueIdFields fields{.address = SocketAddress::parse(address)};
  fields.key.fill(std::byte{7});
  return kRepair + as_text(bootstrap::pack(fields).bytes);
}

}  // namespace

void run(std::string_view input) {
  UniqueId id;
  const std::string_view bytes = input.substr(std::min<size_t>(1, input.size()));
  std::ranges::copy(as_bytes(bytes.substr(0, id.bytes.size())), id.bytes.begin());
  if (input.starts_with(kRepair)) repair_checksum(&id);
  const auto fields = accepted([&] { return bootstrap::unpack(id); });
  if (!fields) return;
  require(!fields->address.to_string().empty(), "an address reads as something");
  // Bytes that unpack() doesn't look at are not kept.
  const UniqueId again = bootstrap::pack(*fields);
  const UniqueIdFields same = bootstrap::unpack(again);
  require(bootstrap::pack(same).bytes == again.bytes, "pack and unpack are inverse");
  require(same.key == fields->key, "the key is kept");
  require(same.address.to_string() == fields->address.to_string(), "the address is kept");
}

std::vector<std::string> seeds() {
  return {seed("127.0.0.1:29500"), seed("[fe80::1]:65535"), seed("@tutti-0123456789abcdef")};
}

}  // namespace tutti::fuzz
