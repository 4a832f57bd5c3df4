// SPDX-License-Identifier: Apache-2.0
// Sends and receives that a communicator has made before, with what need not be looked up again.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>

#include "src/kernels/dtypes.h"
#include "src/trace/recorder.h"
#include "transport/transport.h"

namespace tutti::comm {

// What has been sent or received before, but for where its bytes lie.
struct KnownTransfer {
  uint64_t count = 0;
  uint64_t kind = 0;  // see make_transfer_key(); 0: unused
  size_t bytes = 0;
  size_t chunk_bytes = 0;  // of each message but the last
  bool streaming = false;  // received past the caches
  uint32_t signature = 0;
  int peer = 0;
  // One of the two.
  transport::SendConnection* send = nullptr;
  transport::RecvConnection* recv = nullptr;
  uint32_t* ordinal = nullptr;  // of the pair's next one, see Links::count_p2p()
  trace::Recorder::Described recorded;
};
// Never 0.
constexpr uint64_t make_transfer_key(bool is_send, DType dtype, int peer) noexcept {
  return static_cast<uint64_t>(static_cast<uint32_t>(peer)) << 16 |
         static_cast<uint64_t>(dtype) << 8 | (is_send ? 2 : 1);
}

// Owned by the communicator's progress.
class KnownTransfers {
 public:
  KnownTransfer* find(uint64_t count, uint64_t kind) noexcept {
    KnownTransfer& known = known_[slot_of(count, kind)];
    return known.kind == kind && known.count == count ? &known : nullptr;
  }
  // Takes the place of another one.
  KnownTransfer& place_for(uint64_t count, uint64_t kind) noexcept {
    return known_[slot_of(count, kind)];
  }

 private:
  static constexpr int kBits = 4;
  static size_t slot_of(uint64_t count, uint64_t kind) noexcept {
    return ((count ^ kind << 24) * 0x9e3779b97f4a7c15ULL) >> (64 - kBits);
  }
  std::array<KnownTransfer, size_t{1} << kBits> known_;
};

}  // namespace tutti::comm
