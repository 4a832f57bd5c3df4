// SPDX-License-Identifier: Apache-2.0
// Another process of this host: whether it lives, and reading its memory.
#pragma once

#include <atomic>
#include <cstddef>
#include <cstdint>
#include <span>

#include "src/base/error.h"
#include "src/base/liveness.h"
#include "transport/shm/wire.h"

namespace tutti::transport::shm {

struct PeerProcess {
  ProcessIdentity who;
  ProcessWatch watch;  // of nobody for this process itself
  std::atomic<bool> gone{
      false};  // release by the control thread pairs with acquire in whoever waits for the peer
};

// Copies `bytes` bytes at `address` of the process into `into` (process_vm_readv). The cookie is
// read after the data and the process is looked at after both, so success means that all of it came
// from the process that sent the cookie. Fails with RemoteError (rank -1) when that process is gone
// or does not let us read.
Status read_memory(const PeerProcess& peer, const Cookie& cookie, uint64_t address, std::byte* into,
                   size_t bytes) noexcept;

// The same of several pieces, at most kMostPieces.
struct MemoryPiece {
  uint64_t address = 0;
  std::byte* into = nullptr;
  size_t bytes = 0;
};
inline constexpr size_t kMostPieces = 32;
Status read_memory(const PeerProcess& peer, const Cookie& cookie,
                   std::span<const MemoryPiece> pieces) noexcept;

// 0 when this process may read the peer's memory, else the errno.
int probe_memory(const PeerProcess& peer, const Cookie& cookie) noexcept;

}  // namespace tutti::transport::shm
