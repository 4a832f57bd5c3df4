// SPDX-License-Identifier: Apache-2.0
// One path over a plugin: two one-way connections, and how both come about.
//
//   dialler                                       acceptor
//   connect to the handle in the peer's address
//   listen for the way back
//   kGreeting {rank, handle of the way back} -->  accepts, makes the path
//   frames -->                                    connects to the handle of the greeting
//   accepts                                  <--  kAnswer {handle for the next dial}
//                                            <--  frames
//
// A listening comm serves one connection (some plugins refuse a second), so the acceptor listens
// anew for this peer as soon as it has accepted, and says so in its answer.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>
#include <vector>

#include "transport/nccl_net/channel.h"
#include "transport/network/carrier.h"

namespace tutti::transport::nccl_net {

class NetCarrier;
class NetPath;

enum class MessageKind : uint32_t { kGreeting = 1, kAnswer, kFrame, kPart, kClose };

// In front of each message: 8 bytes, so that what follows is aligned. A kFrame is followed by the
// frame's header and as much of its payload as fits; the rest follows in kParts.
struct MessageHeader {
  MessageKind kind;
  uint32_t bytes;  // that follow
};
static_assert(sizeof(MessageHeader) == 8);
struct Greeting {
  uint32_t magic;
  int32_t rank;
  Handle back;
};
struct Answer {
  uint32_t has_next;
  Handle next;
};

class Link {
 public:
  enum class State { kOpening, kUp, kBroken };

  Link(NetCarrier& carrier, Plugin& plugin, int peer, int rail, bool dialled);
  ~Link();
  Link(const Link&) = delete;
  Link& operator=(const Link&) = delete;

  // Throws Error. The dialler's: `handle` is the peer's.
  void start_dial(const Handle& handle);
  // The acceptor's. False: the plugin refuses.
  bool start_accepted(void* comm) noexcept { return receiver_.adopt(comm); }
  bool greeted() const noexcept { return greeted_; }
  // What the peer will be told to dial next.
  void offer_next(const Handle& next) noexcept;

  bool send(const network::OutgoingFrame& frame) noexcept;
  size_t backlog_bytes() const noexcept { return sender_.backlog_bytes() + unwritten_bytes_; }
  uint64_t delivered_bytes() const noexcept { return sender_.delivered_bytes(); }
  bool refused() const noexcept { return refused_; }
  std::string describe() const;
  std::string rail_name() const;
  bool sabotage() noexcept;
  bool is_retired() const noexcept { return path == nullptr && retired_ns_ != 0; }
  bool turn() noexcept;  // true when something moved
  void retire() noexcept;
  // The owner has gone, and what it sent has left or never will.
  bool finished() const noexcept;

  NetPath* path = nullptr;
  int peer() const noexcept { return peer_; }
  int rail() const noexcept { return rail_; }
  static constexpr size_t kMaxPayloadBytes = 1u << 30;

 private:
  void open() noexcept;
  void receive(bool* moved) noexcept;
  void take(std::span<const std::byte> message) noexcept;
  void take_greeting(std::span<const std::byte> body) noexcept;
  void take_answer(std::span<const std::byte> body) noexcept;
  void take_frame(std::span<const std::byte> body) noexcept;
  void take_part(std::span<const std::byte> body) noexcept;
  void write_parts() noexcept;
  template <typename Body>
  void write(MessageKind kind, const Body& body) noexcept;
  void tell_tokens() noexcept;
  void fail(const std::string& why) noexcept;
  void tell_broken() noexcept;

  NetCarrier& carrier_;
  Plugin& plugin_;
  const int peer_;
  const int rail_;
  const bool dialled_;
  Sender sender_;
  Receiver receiver_;
  State state_ = State::kOpening;
  std::string why_;
  bool told_broken_ = false;
  Handle there_{};               // where sender_ connects to
  bool knows_there_ = false;     // at once for the dialler, from the greeting for the acceptor
  void* back_listen_ = nullptr;  // the dialler's, until the way back is accepted
  Handle back_{};                // of back_listen_
  Answer answer_{};              // the acceptor's
  bool introduced_ = false;      // greeting or answer written
  bool greeted_ = false;         // greeting or answer read
  bool close_wanted_ = false;    // retired: a kClose is to be written
  int64_t retired_ns_ = 0;
  bool refused_ = false;  // the peer's machine answers, and nobody listens there
  // The frame whose payload has been written in part; the rest follows as there is room.
  const std::byte* unwritten_ = nullptr;
  size_t unwritten_bytes_ = 0;
  uint64_t unwritten_token_ = 0;
  std::vector<uint64_t> tokens_;  // payloads that have been copied
  std::vector<uint64_t> telling_;
  // The frame whose kParts are coming.
  network::FrameHeader current_;
  size_t missing_bytes_ = 0;
  std::byte* into_ = nullptr;  // null: thrown away
};

class NetPath final : public network::Path {
 public:
  NetPath(network::FrameSink& sink, Link& link) : Path(sink), link_(&link) { link.path = this; }
  ~NetPath() override { link_->retire(); }
  bool send(const network::OutgoingFrame& frame) noexcept override { return link_->send(frame); }
  size_t backlog_bytes() const noexcept override { return link_->backlog_bytes(); }
  uint64_t delivered_bytes() const noexcept override { return link_->delivered_bytes(); }
  bool refused() const noexcept override { return link_->refused(); }
  size_t max_payload_bytes() const noexcept override { return Link::kMaxPayloadBytes; }
  int rail() const noexcept override { return link_->rail(); }
  std::string describe() const override { return link_->describe(); }
  std::string rail_name() const override { return link_->rail_name(); }
  bool sabotage() noexcept override { return link_->sabotage(); }

 private:
  Link* link_;
};

}  // namespace tutti::transport::nccl_net
