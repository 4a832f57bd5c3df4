// SPDX-License-Identifier: Apache-2.0
// Writes blobs, and reads them with suspicion.
#include "src/transfer/blob.h"

#include <algorithm>
#include <cstring>
#include <set>

#include <spdlog/fmt/fmt.h>

#include "src/base/error.h"
#include "src/base/hash.h"
#include "src/transfer/control_page.h"

namespace tutti::transfer {
namespace {

constexpr size_t kMaxAddressBytes = 8192;

struct Head {
  static constexpr uint64_t kMagic = 0x7475'7474'6961'6774;  // "tuttiagt"
  static constexpr uint32_t kVersion = 1;                    // of everything in this file
  uint64_t magic = kMagic;
  uint32_t version = kVersion;
  uint32_t bytes = 0;     // of the whole blob
  uint64_t checksum = 0;  // of all bytes behind it
  uint64_t agent_id = 0;
  transport::network::Key secret{};
  ProcessIdentity process;
  transport::shm::Cookie cookie;
  transport::shm::Address shm;
  uint64_t control_id = 0;
  std::array<char, kMaxNameBytes + 1> name{};
  std::array<char, 16> carrier{};
  uint32_t network_bytes = 0;
  uint32_t n_regions = 0;
};
static_assert(sizeof(Head) == 280 && std::is_trivially_copyable_v<Head>);
constexpr size_t kSummed = offsetof(Head, checksum) + sizeof(uint64_t);

uint64_t checksum_of(std::span<const std::byte> blob) noexcept {
  Hasher hasher;
  hasher.bytes(blob.data() + kSummed, blob.size() - kSummed);
  return hasher.finish();
}

[[noreturn]] void refuse(const std::string& why) {
  throw Error(StatusCode::kInvalidArgument, "the blob is not what tuttiAgentExport made: " + why +
                                                "; pass on all of its bytes, unchanged");
}

template <size_t N>
std::string text_of(const std::array<char, N>& chars, const char* what) {
  const auto end = std::find(chars.begin(), chars.end(), '\0');
  if (end == chars.end()) refuse(std::string("its ") + what + " has no end");
  const auto printable = [](char c) { return c >= ' ' && c != 127; };
  std::string text(chars.begin(), end);
  // Bytes above 127 are UTF-8's and stay.
  if (!std::ranges::all_of(text, [&](char c) { return c < 0 || printable(c); }))
    refuse(std::string("its ") + what + " has control characters");
  return text;
}

template <size_t N>
void put_text(const std::string& text, std::array<char, N>* into) {
  std::copy_n(text.begin(), std::min(text.size(), N - 1), into->begin());
}

Head checked_head(std::span<const std::byte> bytes) {
  if (bytes.size() < sizeof(Head) || bytes.size() > kMaxBlobBytes) {
    refuse(fmt::format("it has {} bytes, {} to {} are possible", bytes.size(), sizeof(Head),
                       kMaxBlobBytes));
  }
  Head head;
  std::memcpy(&head, bytes.data(), sizeof head);
  if (head.magic != Head::kMagic) refuse("it begins with other bytes");
  if (head.version != Head::kVersion) {
    refuse(fmt::format("it is of version {}, this library reads version {}", head.version,
                       Head::kVersion));
  }
  if (head.bytes != bytes.size())
    refuse(fmt::format("it says that it has {} bytes, {} are here", head.bytes, bytes.size()));
  if (head.checksum != checksum_of(bytes)) refuse("its checksum is wrong");
  if (head.n_regions > kRegionSlots || head.network_bytes > kMaxAddressBytes)
    refuse(fmt::format("it has {} regions and an address of {} bytes", head.n_regions,
                       head.network_bytes));
  const size_t expected = sizeof(Head) + head.network_bytes + head.n_regions * sizeof(RegionEntry);
  if (bytes.size() != expected)
    refuse(fmt::format("its parts take {} bytes, {} are here", expected, bytes.size()));
  return head;
}

void check_region(const RegionEntry& region, std::set<uint32_t>* ids) {
  const std::string which = fmt::format("region {}: ", region.id);
  if (region.id == 0 || !ids->insert(region.id).second) refuse(which + "the number is not its own");
  if (region.slot >= kRegionSlots) refuse(which + fmt::format("slot {}", region.slot));
  if (region.bytes == 0 || region.address + region.bytes < region.address ||
      region.shared_offset + region.bytes < region.shared_offset) {
    refuse(which + fmt::format("{} bytes at {:#x}", region.bytes, region.address));
  }
}

}  // namespace

std::vector<std::byte> encode(const Blob& blob) {
  Head head{.agent_id = blob.agent_id,
            .secret = blob.secret,
            .process = blob.process,
            .cookie = blob.cookie,
            .shm = blob.shm,
            .control_id = blob.control_id,
            .network_bytes = static_cast<uint32_t>(blob.network.size()),
            .n_regions = static_cast<uint32_t>(blob.regions.size())};
  put_text(blob.name, &head.name);
  put_text(blob.carrier, &head.carrier);
  const size_t region_bytes = blob.regions.size() * sizeof(RegionEntry);
  std::vector<std::byte> bytes(sizeof head + blob.network.size() + region_bytes);
  if (bytes.size() > kMaxBlobBytes || blob.network.size() > kMaxAddressBytes) {
    throw Error(StatusCode::kInvalidUsage,
                fmt::format("{} regions and a network address of {} bytes make a blob of {} bytes; "
                            "at most {} are possible",
                            blob.regions.size(), blob.network.size(), bytes.size(), kMaxBlobBytes));
  }
  head.bytes = static_cast<uint32_t>(bytes.size());
  std::copy(blob.network.begin(), blob.network.end(), bytes.begin() + sizeof head);
  if (region_bytes != 0) {
    std::memcpy(bytes.data() + sizeof head + blob.network.size(), blob.regions.data(),
                region_bytes);
  }
  std::memcpy(bytes.data(), &head, sizeof head);
  head.checksum = checksum_of(bytes);
  std::memcpy(bytes.data(), &head, sizeof head);
  return bytes;
}

Blob decode_blob(std::span<const std::byte> bytes) {
  const Head head = checked_head(bytes);
  Blob blob{.agent_id = head.agent_id,
            .secret = head.secret,
            .process = head.process,
            .cookie = head.cookie,
            .shm = head.shm,
            .control_id = head.control_id,
            .name = text_of(head.name, "name"),
            .carrier = text_of(head.carrier, "carrier")};
  const auto network = bytes.subspan(sizeof head, head.network_bytes);
  blob.network.assign(network.begin(), network.end());
  blob.regions.resize(head.n_regions);
  const auto regions = bytes.subspan(sizeof head + head.network_bytes);
  if (!regions.empty()) std::memcpy(blob.regions.data(), regions.data(), regions.size());
  std::set<uint32_t> ids;
  for (const RegionEntry& region : blob.regions) check_region(region, &ids);
  return blob;
}

}  // namespace tutti::transfer
