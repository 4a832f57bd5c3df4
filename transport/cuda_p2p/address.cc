// SPDX-License-Identifier: Apache-2.0
// Addresses as bytes, and the driver's word on pairs of GPUs.
#include "transport/cuda_p2p/address.h"

#include <cstring>

#include <spdlog/fmt/fmt.h>

#include "src/base/error.h"
#include "src/device/cuda/driver.h"
#include "src/device/cuda/pairs.h"

namespace tutti::transport::cuda_p2p {
namespace {

// Followed by n_seen of Seen, then shm's address.
struct Head {
  static constexpr uint64_t kMagic = 0x7475'7474'6963'7031;  // "tutticp1"
  uint64_t magic;
  GpuId gpu;
  int32_t ordinal;
  uint32_t n_seen;
  char pci_address[32];  // ends with 0
};
static_assert(sizeof(Head) == 64 && sizeof(Seen) == 24);
static_assert(std::is_trivially_copyable_v<Head> && std::is_trivially_copyable_v<Seen>);

GpuId id_of(cuda::Device device) {
  cuda::Uuid uuid{};
  cuda::check(cuda::driver().cuDeviceGetUuid_v2(&uuid, device),
              fmt::format("the id of CUDA device {}", device));
  GpuId id;
  std::memcpy(id.data(), uuid.bytes, id.size());
  return id;
}

Seen look_at(cuda::Device own, cuda::Device other) {
  const bool same = own == other;
  return {.gpu = id_of(other),
          .reaches = cuda::reaches(own, other) && cuda::reaches(other, own) ? 1U : 0U,
          .whole_lines =
              same || (cuda::linked_by_nvlink(own, other) && cuda::linked_by_nvlink(other, own))
                  ? 1U
                  : 0U};
}

const Seen* find(const Address& in, const GpuId& gpu) noexcept {
  for (const Seen& seen : in.seen) {
    if (seen.gpu == gpu) return &seen;
  }
  return nullptr;
}

}  // namespace

Address address_of(const cuda::Gpu& gpu, std::vector<std::byte> shm) {
  Address address{.gpu = id_of(gpu.ordinal()),
                  .ordinal = gpu.ordinal(),
                  .pci_address = gpu.facts().pci_address,
                  .seen = {},
                  .shm = std::move(shm)};
  for (cuda::Device other = 0; other < cuda::device_count(); ++other)
    address.seen.push_back(look_at(gpu.ordinal(), other));
  return address;
}

std::vector<std::byte> encode(const Address& address) {
  Head head{.magic = Head::kMagic,
            .gpu = address.gpu,
            .ordinal = address.ordinal,
            .n_seen = static_cast<uint32_t>(address.seen.size()),
            .pci_address = {}};
  address.pci_address.copy(head.pci_address, sizeof head.pci_address - 1);
  const auto head_bytes = std::as_bytes(std::span(&head, 1));
  const auto seen_bytes = std::as_bytes(std::span(address.seen));
  std::vector<std::byte> bytes(head_bytes.begin(), head_bytes.end());
  bytes.insert(bytes.end(), seen_bytes.begin(), seen_bytes.end());
  bytes.insert(bytes.end(), address.shm.begin(), address.shm.end());
  return bytes;
}

Address decode(std::span<const std::byte> bytes, int rank) {
  Head head{};
  if (bytes.size() >= sizeof head) std::memcpy(&head, bytes.data(), sizeof head);
  const size_t room = bytes.size() < sizeof head ? 0 : bytes.size() - sizeof head;
  if (head.magic != Head::kMagic || head.pci_address[sizeof head.pci_address - 1] != '\0' ||
      head.n_seen > room / sizeof(Seen)) {
    throw Error(StatusCode::kRemoteError,
                fmt::format("expected a GPU's address of this version of the library, got {} "
                            "other bytes; rank {} has another version",
                            bytes.size(), rank));
  }
  Address address{.gpu = head.gpu,
                  .ordinal = head.ordinal,
                  .pci_address = head.pci_address,
                  .seen = std::vector<Seen>(head.n_seen),
                  .shm = {}};
  const std::span<const std::byte> rest = bytes.subspan(sizeof head);
  const size_t seen_bytes = head.n_seen * sizeof(Seen);
  if (seen_bytes != 0) std::memcpy(address.seen.data(), rest.data(), seen_bytes);
  address.shm.assign(rest.begin() + static_cast<std::ptrdiff_t>(seen_bytes), rest.end());
  return address;
}

Verdict judge(const Address& own, const Address& peer, int rank) {
  const Seen* const here = find(own, peer.gpu);
  const Seen* const there = find(peer, own.gpu);
  if (here == nullptr && there == nullptr) {
    return {.reason = fmt::format(
                "neither process sees the other's GPU ({} here, {} of rank {}), so the driver "
                "can't be asked; let CUDA_VISIBLE_DEVICES show both to both",
                own.pci_address, peer.pci_address, rank)};
  }
  const auto agree = [&](uint32_t Seen::*what) {
    return (here == nullptr || here->*what != 0) && (there == nullptr || there->*what != 0);
  };
  if (!agree(&Seen::reaches)) {
    return {.reason = fmt::format("the driver says that GPU {} and GPU {} of rank {} can't reach "
                                  "each other's memory",
                                  own.pci_address, peer.pci_address, rank)};
  }
  return {.reaches = true, .whole_lines = agree(&Seen::whole_lines), .reason = {}};
}

}  // namespace tutti::transport::cuda_p2p
