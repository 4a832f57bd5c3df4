// SPDX-License-Identifier: Apache-2.0
// The header of every active message that a UCX carrier sends: which path it belongs to, then the
// frame's own.
#pragma once

#include <cstdint>
#include <type_traits>

#include "transport/network/frame.h"

namespace tutti::transport::ucx {

inline constexpr unsigned kActiveMessage = 1;

enum class Message : uint32_t {
  kFrame = 0,
  kClose = 1,  // the sender has destroyed its end of the path; nothing follows
};

// A path has one number in each direction: {rank that dialled : 32 | its count of dials : 31 | 1
// when the dialler is the sender}. The first message of the dialler (sequence 0) carries its
// worker's address in front of the payload, so that the acceptor can answer.
struct AmHeader {
  uint64_t path = 0;
  uint64_t sequence = 0;       // of the path in this direction; UCX may use several lanes at once
  uint32_t generation = 0;     // how often the sender has made an endpoint to this peer
  uint32_t address_bytes = 0;  // in front of the payload, a multiple of 8
  Message message = Message::kFrame;
  uint32_t address_padding = 0;  // of address_bytes, at the end
  network::FrameHeader frame;
};
static_assert(sizeof(AmHeader) == 80 && std::is_trivially_copyable_v<AmHeader>);

// MemoryKey: {address : 8 bytes | length of UCX's key : 1 | the key}.
inline constexpr size_t kKeyLengthAt = 8;

}  // namespace tutti::transport::ucx
