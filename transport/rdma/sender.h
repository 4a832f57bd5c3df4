// SPDX-License-Identifier: Apache-2.0
// The sending side of a path: turns frames into work requests as credits, the send queue and the
// ring have room.
//
// A frame becomes
//   one SEND                         when header and payload fit into a receive buffer,
//   RDMA WRITEs and then a SEND      when the receiver has given a key for where the payload goes,
//                                    from where it lies when that is registered, else by the ring,
//   SENDs of kPieceBytes each        otherwise.
// Every SEND takes a receive buffer of the peer, of which it tells us how many it has posted. The
// last kReserve of them are kept for messages that tell the peer the same, so that both ends can't
// wait for each other.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <vector>

#include "transport/network/carrier.h"
#include "transport/rdma/memory.h"
#include "transport/rdma/queue_pair.h"

namespace tutti::transport::rdma {

class Sender {
 public:
  Sender(QueuePair& pair, Memory& memory, size_t device);
  ~Sender() { abandon(); }
  Sender(const Sender&) = delete;
  Sender& operator=(const Sender&) = delete;

  void start(const QueuePairFacts& peer);
  bool send(const network::OutgoingFrame& frame) noexcept;
  // Moves on what waits for room.
  void pump() noexcept;
  // Tells the peer how many receives have been posted, when it may be waiting for them.
  void tell_credit() noexcept;
  // Posts a last message whose completion says that the peer has everything before it. False when
  // there is no room for it.
  bool post_last() noexcept;

  void peer_granted(uint32_t total) noexcept { peer_granted_ = total; }
  void posted_receives(size_t count) noexcept { granted_ += static_cast<uint32_t>(count); }
  // A completion of the work request with this number; frees all up to it.
  void completed(uint32_t number) noexcept;
  bool last_completed() const noexcept { return last_posted_ && tail_ == head_; }
  // Frames whose payload is no longer read, since the last call.
  void take_finished(std::vector<uint64_t>& tokens) noexcept;

  bool busy() const noexcept { return pending_.active; }
  bool has_finished() const noexcept { return !finished_.empty(); }
  size_t backlog_bytes() const noexcept { return backlog_; }
  uint64_t delivered_bytes() const noexcept { return delivered_; }
  // Asks the peer's device for an acknowledgement, when nothing else is waiting for one: an empty
  // write, which takes none of the peer's buffers, so a process that is stopped is no reason.
  void probe() noexcept;
  int error() const noexcept { return error_; }  // of posting; 0: none
  // The queue pair is gone: nothing is read any more.
  void abandon() noexcept;
  // Payloads in memory that is not the ring's are being read.
  bool reads_foreign_memory() const noexcept { return foreign_ > 0 || pending_.active; }

 private:
  static constexpr uint32_t kReserve = 2;
  static constexpr uint32_t kSignalEvery = 16;
  static constexpr size_t kSignalBytes = kRingBytes / 4;
  static constexpr size_t kBatch = 8;
  // Below this a payload with a key is cheaper as part of the header's message.
  static constexpr size_t kEagerBytes = 1024;

  struct Record {  // of a posted work request
    uint32_t ring = 0;
    uint32_t backlog = 0;
    uint32_t bytes = 0;
    uint64_t token = 0;
    Registration* used = nullptr;
  };
  enum class Mode : uint8_t { kWhole, kWrite, kBounce, kFragments };
  struct Pending {
    bool active = false;
    Mode mode = Mode::kWhole;
    network::FrameHeader header;
    const std::byte* payload = nullptr;
    size_t bytes = 0, done = 0;
    uint64_t token = 0;
    uint64_t remote = 0;  // address of the first byte at the peer
    uint32_t rkey = 0;
    Registration* used = nullptr;
  };

  void begin(const network::OutgoingFrame& frame) noexcept;
  bool step() noexcept;
  bool step_whole() noexcept;
  bool step_write() noexcept;
  bool step_bounce() noexcept;
  bool step_fragment() noexcept;
  bool step_placed_header() noexcept;
  void finish() noexcept;

  bool record_free() const noexcept { return head_ - tail_ < pair_.send_depth(); }
  int32_t credits() const noexcept { return static_cast<int32_t>(peer_granted_ - sent_); }
  bool may_send() const noexcept {
    return record_free() && credits() > static_cast<int32_t>(kReserve);
  }
  // Adds a SEND of header and piece; false when the ring has no room.
  bool add_message(const WireMessage& message, const std::byte* piece, size_t bytes,
                   const Record& record, bool signal) noexcept;
  ibv_send_wr& add(const Record& record, bool signal) noexcept;
  void add_write(const std::byte* from, uint32_t lkey, size_t bytes, const Record& record) noexcept;
  WirePrefix prefix(WireKind kind, size_t offset, size_t bytes) noexcept;
  void flush() noexcept;

  QueuePair& pair_;
  Memory& memory_;
  const size_t device_;
  uint32_t peer_rail_ = 0;
  size_t piece_bytes_ = kPieceBytes;
  SendRing ring_{kRingBytes};
  Pending pending_;

  std::array<Record, kSendDepth> records_{};  // those in [tail_, head_), modulo their number
  uint32_t head_ = 0, tail_ = 0;
  uint32_t sent_ = 0;          // SENDs so far
  uint32_t peer_granted_ = 0;  // receives that the peer has posted so far
  uint32_t granted_ = 0;       // receives that we have posted so far
  uint32_t told_ = 0;          // of which the peer knows
  uint32_t unsignalled_ = 0;
  size_t unsignalled_bytes_ = 0;
  size_t backlog_ = 0;
  uint64_t delivered_ = 0;
  size_t foreign_ = 0;
  int error_ = 0;
  bool last_posted_ = false;
  std::vector<uint64_t> finished_;

  // Work requests that are posted together.
  size_t batched_ = 0;
  std::array<ibv_send_wr, kBatch> requests_{};
  std::array<ibv_sge, 2 * kBatch> places_{};
  std::array<WireMessage, kBatch> messages_{};
};

}  // namespace tutti::transport::rdma
