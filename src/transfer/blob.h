// SPDX-License-Identifier: Apache-2.0
// What an agent hands out about itself, as bytes that the user carries to its peers: where it is,
// its secret, its regions. Who has them may read and write the regions, so they are a secret too.
//
//   Head | network address | RegionEntry x regions
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <span>
#include <string>
#include <vector>

#include "src/base/liveness.h"
#include "transport/network/greeting.h"
#include "transport/shm/wire.h"

namespace tutti::transfer {

inline constexpr size_t kMaxBlobBytes = 64 << 10;  // TUTTI_AGENT_BLOB_BYTES
inline constexpr size_t kMaxNameBytes = 63;        // without the 0

// A region as peers know it.
struct RegionEntry {
  uint32_t id = 0;    // never used again by this agent; not 0
  uint32_t slot = 0;  // in the control page
  uint64_t bytes = 0;
  uint64_t address = 0;        // in the agent's process
  uint64_t shared_id = 0;      // of the tuttiMemAlloc memory that it lies in; 0: it does not
  uint64_t shared_offset = 0;  // there
};
static_assert(sizeof(RegionEntry) == 40);

struct Blob {
  uint64_t agent_id = 0;
  transport::network::Key secret{};
  ProcessIdentity process;
  transport::shm::Cookie cookie;  // of the agent
  transport::shm::Address shm;
  uint64_t control_id = 0;  // the control page, as tuttiMemAlloc memory
  std::string name;
  std::string carrier;             // "tcp"
  std::vector<std::byte> network;  // Carrier::address()
  std::vector<RegionEntry> regions;
};

std::vector<std::byte> encode(const Blob& blob);
// Throws InvalidArgument that says what is wrong; never reads past the end.
Blob decode_blob(std::span<const std::byte> bytes);

}  // namespace tutti::transfer
