// SPDX-License-Identifier: Apache-2.0
// Blobs of agents: the bytes that users pass around. Inputs get the length and the checksum that
// they need when their first byte says so, or none would ever pass them.
#include <algorithm>
#include <cstring>

#include "src/base/hash.h"
#include "src/transfer/blob.h"
#include "src/transfer/control_page.h"
#include "tests/fuzz/fuzz.h"

namespace tutti::fuzz {
namespace {

using namespace transfer;  // NOLINT(google-build-using-namespace): its test

constexpr char kRepair = 'c';
constexpr size_t kBytesAt = 12, kChecksumAt = 16, kSummedFrom = 24;

void repair(std::string* blob) {
  if (blob->size() < kSummedFrom) return;
  const auto bytes = static_cast<uint32_t>(blob->size());
  std::memcpy(blob->data() + kBytesAt, &bytes, sizeof bytes);
  Hasher hasher;
  hasher.bytes(blob->data() + kSummedFrom, blob->size() - kSummedFrom);
  const uint64_t sum = hasher.finish();
  std::memcpy(blob->data() + kChecksumAt, &sum, sizeof sum);
}

std::string seed(size_t regions, size_t network_bytes, const std::string& name) {
  Blob blob{.agent_id = 3, .control_id = 1, .name = name, .carrier = "tcp"};
  blob.network.resize(network_bytes, std::byte{5});
  for (uint32_t i = 0; i < regions; ++i)
    blob.regions.push_back({.id = i + 1, .slot = i, .bytes = 4096, .address = 0x7f0000000000});
  const auto bytes = encode(blob);
  return kRepair + std::string(as_text(bytes));
}

bool same(const RegionEntry& a, const RegionEntry& b) { return std::memcmp(&a, &b, sizeof a) == 0; }

}  // namespace

void run(std::string_view input) {
  std::string bytes(input.substr(std::min<size_t>(1, input.size())));
  if (input.starts_with(kRepair)) repair(&bytes);
  const auto blob = accepted([&] { return decode_blob(as_bytes(bytes)); });
  if (!blob) return;
  for (const RegionEntry& region : blob->regions) {
    require(region.id != 0 && region.bytes != 0 && region.slot < kRegionSlots,
            "regions are within bounds");
    require(region.address + region.bytes > region.address, "regions don't wrap around");
  }
  // Bytes behind the end of a text are not kept.
  const auto again = encode(*blob);
  require(again.size() == bytes.size(), "what is accepted is as long as what would be written");
  const Blob read = decode_blob(again);
  require(encode(read) == again, "encode and decode are inverse");
  require(read.secret == blob->secret && read.process == blob->process, "who it is is kept");
  require(read.name == blob->name && read.carrier == blob->carrier, "texts are kept");
  require(read.network == blob->network, "the address is kept");
  require(std::ranges::equal(read.regions, blob->regions, same), "regions are kept");
}

std::vector<std::string> seeds() {
  return {seed(0, 0, ""), seed(1, 64, "decode-0"), seed(12, 300, std::string(63, 'x'))};
}

}  // namespace tutti::fuzz
