// SPDX-License-Identifier: Apache-2.0
// Parts of GPU memory that two ranks use: cut from few allocations, found by the peer, and kept
// until both have let go of them.
//
// A part belongs to one end of a connection; the other end, of another rank, writes to it. So it is
// freed only when both ends are gone. Between threads of one process both hold the allocation.
// Between processes the peer, which has opened it, writes a word behind the part when it closes it;
// CUDA calls freeing memory that another process has open undefined. Until then, or until that
// process has ended, a part without an owner waits in a list of the process.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <utility>

#include "src/base/liveness.h"
#include "src/device/cuda/ipc.h"

namespace tutti::transport::cuda_p2p {

// One allocation, from which parts are cut.
struct Block {
  uint64_t id;  // never used again in this process
  cuda::ShareableMemory memory;
};

// Where a part lies, for a peer.
struct Place {
  uint64_t block = 0;           // its id in the owner's process
  uint64_t offset = 0;          // of the part
  uint64_t bytes = 0;           // without the word behind it
  cuda::IpcMemHandle handle{};  // all zero between ranks of one process
};

// The owner's end. When it is destroyed no kernel of its GPU uses the part any more.
class Part {
 public:
  Part(std::shared_ptr<const Block> block, size_t offset, size_t bytes)
      : block_(std::move(block)), offset_(offset), bytes_(bytes) {}
  Part(Part&&) noexcept = default;
  Part& operator=(Part&&) = delete;
  ~Part();

  cuda::DevicePtr address() const noexcept { return block_->memory.address() + offset_; }
  // For a rank of that process, which is told now. Throws UnhandledCudaError.
  Place show_to(const ProcessIdentity& peer);

 private:
  // shared: by its parts and, in this process, their peers
  std::shared_ptr<const Block> block_;
  size_t offset_;
  size_t bytes_;
  ProcessIdentity shown_to_;  // another process; process_uid 0: none
};

// The peer's end. When it is destroyed no kernel of this rank's GPU uses the part any more.
class PeerPart {
 public:
  // Throws UnhandledCudaError; RemoteError when the owner, of this process, has gone.
  PeerPart(const std::shared_ptr<const cuda::Gpu>& gpu, const Place& place, bool same_process,
           int rank);
  ~PeerPart();
  PeerPart(const PeerPart&) = delete;
  PeerPart& operator=(const PeerPart&) = delete;
  cuda::DevicePtr address() const noexcept { return address_; }

 private:
  // One of the two.
  std::shared_ptr<const Block> block_;                // of this process; shared: see above
  std::shared_ptr<const cuda::OpenedMemory> opened_;  // shared: by all parts of the allocation
  std::shared_ptr<const cuda::Gpu> gpu_;              // shared: as the transport's
  cuda::DevicePtr address_ = 0;
  size_t bytes_ = 0;
};

// Cuts parts from the allocations of one rank. What is let go of is not cut again: connections end
// when their communicator does.
class Pool {
 public:
  explicit Pool(std::shared_ptr<const cuda::Gpu> gpu) : gpu_(std::move(gpu)) {}
  // Zero, at a multiple of 512 bytes. Throws UnhandledCudaError.
  Part cut(size_t bytes);

 private:
  std::shared_ptr<const cuda::Gpu> gpu_;  // shared: by all that outlives the transport
  std::shared_ptr<const Block> block_;    // the newest; shared: with its parts
  size_t used_ = 0;
};

// Frees the parts of this process that nobody writes to any more; returns how many are left.
size_t sweep() noexcept;

}  // namespace tutti::transport::cuda_p2p
