// SPDX-License-Identifier: Apache-2.0
// The halves of a connection that a session carries: the sender's mirror and how far its messages
// have gone, and the receiver's mirror and what has been told of its credits.
#pragma once

#include <array>
#include <atomic>
#include <cstdint>
#include <optional>

#include "transport/network/carrier.h"
#include "transport/network/mirror.h"

namespace tutti::transport::network {

// Frame flag: the sender waits until this message has been released (it is a reference), so tell it
// at once.
inline constexpr uint16_t kTellRelease = 2;

// Frame flag: parts of this message with larger offsets are in other frames.
inline constexpr uint16_t kGoesOn = 4;

// Payload of kOpen.
struct OpenPayload {
  int32_t channel = 0;
  uint32_t n_lines = 0, n_areas = 0, area_bytes = 0;
};
static_assert(sizeof(OpenPayload) == 16);

// All functions under the endpoint's lock, except where said.
class SendStream {
 public:
  SendStream(const ConnectionId& id, uint32_t number, const FifoLayout& layout)
      : id(id), number(number), mirror(layout) {}
  const ConnectionId id;
  const uint32_t number;  // at the sender; names the connection in frames
  Mirror mirror;
  // The peer has made its end. release in accept() pairs with acquire in NetworkSend::ready().
  std::atomic<bool> accepted{false};
  bool lent = false;  // the slots' pages have to stay, see Carrier::lend(); constant after open()

  void accept(const MemoryKey& key) noexcept;
  // The frame of the next message, or of its next part with at most `most` bytes; false when there
  // is none, its slot at the peer is not free yet, or this end has given up.
  bool next(size_t most, OutgoingFrame* frame) noexcept;
  // The frame of next() has been handed to a path.
  void advance(const FrameHeader& handed) noexcept;
  // Messages are there that have not been handed to a path.
  bool pending() const noexcept;
  // False: the peer has released more than there was.
  bool released(uint64_t messages) noexcept;
  // Around a path's reading of user memory, so that Links::announce() can wait for its end (see
  // FailureWord). False: this end has given up, the memory is not to be read any more.
  bool begin_reading() noexcept;
  void end_reading() noexcept;
  bool given_up() const noexcept {
    return mirror.failure(0).value.load(std::memory_order_acquire) != 0;  // pairs with announce()
  }
  bool told_failure = false;

 private:
  uint64_t sent_ = 0;       // messages handed to paths
  uint32_t part_ = 0;       // bytes of the next one that have been
  uint64_t bulk_sent_ = 0;  // of those, messages that take a slot at the peer
  std::array<uint64_t, kMaxAreas>
      area_message_{};      // per slot there: messages sent, that one included
  int reading_ = 0;         // references that paths may be reading
  MemoryKey into_{};        // the peer's slots
  bool placeable_ = false;  // into_ is a key
};

class RecvStream {
 public:
  RecvStream(const ConnectionId& id, uint32_t number, const FifoLayout& layout)
      : id(id), number(number), mirror(layout) {}
  const ConnectionId id;
  const uint32_t number;  // at the sender
  Mirror mirror;
  bool taken = false;  // a RecvConnection has it

  // For the connection's user, without the lock.
  // The message after those that have been released is there.
  bool next_is_there() const noexcept;
  // Where a kMapped message lies; null: nowhere.
  const std::byte* locate(const DirectReference& reference) const noexcept;
  // The last release is one that the peer may be waiting for.
  bool credit_is_due() const noexcept;

  // Where the payload goes; null when the frame makes no sense.
  std::byte* place(const FrameHeader& header) noexcept;
  // Publishes the message. `payload`: its bytes when they have not been placed. False: nonsense.
  bool arrived(const FrameHeader& header, const std::byte* payload) noexcept;
  // How many messages have been released, when that is worth a frame: always when `all` and the
  // peer does not know it yet, else when it may be waiting for it. The caller says credited()
  // after.
  bool credit(bool all, uint64_t* released) const noexcept;
  void credited(uint64_t released) noexcept { credited_ = released; }
  bool told_failure = false;

 private:
  // What has come of a message that comes in parts.
  struct Parts {
    uint64_t message = 0;  // its number and 1; 0: none
    uint64_t bytes = 0;
    uint64_t of_bytes = 0;  // 0: its last part has not come
  };

  bool makes_sense(const FrameHeader& header) const noexcept;
  // Counts a part. The whole message's bytes when that was the last to come, 0 while more have to;
  // nullopt: nonsense.
  std::optional<uint64_t> add_part(const FrameHeader& header) noexcept;
  uint64_t batch() const noexcept;

  std::array<Parts, kMaxAreas> parts_{};  // by slot

  uint64_t credited_ = 0;  // as the peer knows it
  uint64_t urgent_ = 0;    // messages up to here are wanted back
};

}  // namespace tutti::transport::network
