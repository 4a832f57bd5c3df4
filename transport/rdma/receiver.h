// SPDX-License-Identifier: Apache-2.0
// The receiving side of a path: frames out of messages, and receive buffers posted again.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>

#include "transport/network/carrier.h"
#include "transport/rdma/queue_pair.h"

namespace tutti::transport::rdma {

class Receiver {
 public:
  explicit Receiver(QueuePair& pair) : pair_(pair) {}
  // A message of `bytes` lies in this slot. Calls the sink of `path`. Returns what is wrong with
  // it, null when nothing is; *granted is what the peer says it has posted.
  const char* take(network::Path& path, uint32_t slot, size_t bytes, uint32_t* granted) noexcept;
  // Posts the slots that have been taken; how many. *error: 0 or an errno.
  size_t post_again(int* error) noexcept;
  size_t taken() const noexcept { return n_taken_; }

 private:
  const char* take_fragment(network::Path& path, const WireMessage& message,
                            const std::byte* piece) noexcept;

  QueuePair& pair_;
  std::array<uint32_t, kReceiveDepth> taken_{};  // slots to be posted again
  size_t n_taken_ = 0;
  // Of a frame that comes in fragments.
  uint32_t expected_offset_ = 0;
  std::byte* place_ = nullptr;
};

}  // namespace tutti::transport::rdma
