// SPDX-License-Identifier: Apache-2.0
// What crosses a network between two ranks: frames, each a header and a payload, little endian.
#pragma once

#include <cstddef>
#include <cstdint>
#include <type_traits>

namespace tutti::transport::network {

enum class FrameKind : uint16_t {
  kNone = 0,  // sequenced: in the place of a message that its sender has taken back
  // Greeting (see greeting.h): the first frames of a path, in this order; unsequenced.
  kHello,    // from who dialled; payload: Hello
  kWelcome,  // the answer; payload: Welcome
  kConfirm,  // from who dialled; payload: Proof. From here on both ends use the path
  kRefuse,   // instead of a welcome: the path is not wanted; word: a Refusal
  // Sequenced, except where said.
  kOpen,     // announces a connection; stream: its number at the sender; payload: OpenPayload
  kAccept,   // the receiver has made its end; stream: the sender's number; payload: MemoryKey
  kMessage,  // stream: number of the connection, word: signature and kind, number: of the message
             // in its connection from 0, place: {area : 32 | offset : 32} when not inline. The
             // message or, with kGoesOn or an offset, a part of it
  kCredit,   // stream: the sender's number; number: messages that the receiver has released
  kFailure,  // an end of a connection gives up; word: 0 the sender's, 1 the receiver's; number: the
             // FailureWord's value
  kPut,      // into a window; stream: region, number: offset
  kSignal,   // stream: region, number: offset, place: value to add
  kRead,     // stream: region, number: offset, word: count of 8-byte words, place: request
  kWords,    // the answer; place: request, word: 0 or a StatusCode; payload: the words
  kAck,      // unsequenced: `ack` and, in `number`, a bit per sequence after ack + 1 that is there
  kAbandon,  // number: id of a path that the sender has closed; frames that it has lost follow by
             // others, once kAbandoned has come. payload: Arrivals, so that the peer does the same
  kAbandoned,  // the answer: nothing that comes by that path is written to memory any more.
               // payload: Arrivals, so that only what has not arrived is sent again
  kBye,        // unsequenced: the sender has no further use for the session; nothing follows
  // Of one-sided transfers (src/transfer/wire.h), sequenced.
  kTransferData,  // bytes that belong at one place; stream, word, number, place: which
  kTransferNote,  // anything else; word: which
};

// In front of each payload.
struct FrameHeader {
  uint64_t sequence = 0;       // of the session in this direction, from 1; 0: unsequenced
  uint64_t ack = 0;            // the sender of this frame has got every sequence up to this one
  uint32_t payload_bytes = 0;  // that follow, or have been placed
  FrameKind kind = FrameKind::kNone;
  uint16_t flags = 0;
  uint32_t stream = 0;  // these four by kind
  uint32_t word = 0;
  uint64_t number = 0;
  uint64_t place = 0;
};
static_assert(sizeof(FrameHeader) == 48 && std::is_trivially_copyable_v<FrameHeader>);

// The payload does not follow: the path has written it to where MemoryKey said.
inline constexpr uint16_t kPlaced = 1;

// How peers reach memory of this rank by a carrier that writes to memory itself (RDMA): opaque to
// everybody else, all zero when the carrier does not.
struct MemoryKey {
  std::byte bytes[64] = {};
  bool operator==(const MemoryKey&) const = default;
};

}  // namespace tutti::transport::network
