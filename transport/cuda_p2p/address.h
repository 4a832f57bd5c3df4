// SPDX-License-Identifier: Apache-2.0
// What a rank tells its peers of its GPU, and what two ranks conclude from it, both alike.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <span>
#include <string>
#include <vector>

#include "src/device/cuda/gpu.h"

namespace tutti::transport::cuda_p2p {

// Names a GPU, or a part of one, in every process. A PCI address does not: parts share it.
using GpuId = std::array<char, 16>;

// A GPU that a rank's process sees, as the rank's own stands to it.
struct Seen {
  GpuId gpu{};
  uint32_t reaches = 0;      // each way, by the driver
  uint32_t whole_lines = 0;  // 128 bytes of a warp arrive whole: NVLink, or the same GPU
};

struct Address {
  GpuId gpu{};
  int32_t ordinal = -1;     // in the rank's process
  std::string pci_address;  // for people
  std::vector<Seen> seen;   // its own too
  std::vector<std::byte> shm;
};

// Of this process's GPU; asks the driver about all others that the process sees.
Address address_of(const cuda::Gpu& gpu, std::vector<std::byte> shm);
std::vector<std::byte> encode(const Address& address);
// Throws RemoteError naming the rank.
Address decode(std::span<const std::byte> bytes, int rank);

struct Verdict {
  bool reaches = false;
  bool whole_lines = false;
  std::string reason;  // when it does not
};
// The same for both orders of the two: what both processes say where both see both GPUs, else what
// the one says that does (CUDA_VISIBLE_DEVICES hides GPUs, but not from handles). `rank` is the
// peer's, for the reason.
Verdict judge(const Address& own, const Address& peer, int rank);

}  // namespace tutti::transport::cuda_p2p
