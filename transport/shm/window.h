// SPDX-License-Identifier: Apache-2.0
// Windows over shm: a peer's region, mapped here.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>
#include <vector>

#include "transport/shm/hub.h"
#include "transport/transport.h"

namespace tutti::transport::shm {

// What export_region hands to the peers.
struct WindowToken {
  static constexpr uint64_t kMagic = 0x7475'7469'7368'6d31;
  uint64_t magic = kMagic;
  uint64_t process_uid = 0;
  uint64_t region = 0;  // 0 when bytes is 0
  uint64_t offset = 0;  // of the window in the region
  uint64_t bytes = 0;
};
static_assert(sizeof(WindowToken) == 40);

std::vector<std::byte> encode(const WindowToken& token);
// Throws InvalidArgument when the bytes are not a token of that rank's process.
WindowToken decode_window(std::span<const std::byte> bytes, const Peer& from);

class ShmRegion final : public RemoteRegion {
 public:
  // Throws InvalidArgument when the window does not lie in the region. An empty window needs none.
  ShmRegion(std::shared_ptr<Hub> hub, int rank, Exposure exposure, const WindowToken& token);
  size_t bytes() const noexcept override { return bytes_; }
  Status put(size_t offset, const void* data, size_t bytes) noexcept override;
  Status read(size_t offset, std::span<uint64_t> words, Deadline deadline) const noexcept override;
  Status add_signal(size_t offset, uint64_t value) noexcept override;

 private:
  Status check(size_t offset, size_t bytes) const noexcept;
  Status check_write(size_t offset, size_t bytes) const noexcept;

  std::shared_ptr<Hub>
      hub_;  // shared: a window may outlive its Transport; keeps the link that revokes the region
  int rank_;
  Exposure exposure_;
  std::byte* base_ = nullptr;
  size_t bytes_;
};

}  // namespace tutti::transport::shm
