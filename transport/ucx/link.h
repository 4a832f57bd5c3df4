// SPDX-License-Identifier: Apache-2.0
// One path of a UCX carrier, and the endpoint of UCX that all paths to one peer share.
#pragma once

#include <array>
#include <cstdint>
#include <map>
#include <memory>
#include <string>
#include <vector>

#include "transport/network/carrier.h"
#include "transport/ucx/library.h"
#include "transport/ucx/wire.h"

namespace tutti::transport::ucx {

class UcxCarrier;
class UcxPath;
class Link;

// UCX's endpoint to one peer. UCX joins the endpoints that two workers make to each other in the
// order in which they are made, so closing one of several may break another: there is one at a
// time, and paths to the peer are numbers in its messages.
struct Remote {
  UcxCarrier* carrier = nullptr;
  std::vector<std::byte> address;  // of the peer's worker
  ucp_ep_h endpoint = nullptr;     // null once it is closed
  uint32_t generation = 0;         // how many there have been to this peer, this one included
  uint32_t heard_generation = 0;   // the highest of the peer's that came here; 0: none yet
  bool failed = false;             // no more sends; its paths are being broken
  ucs_status_t status = UCS_OK;
  std::string why;
  ucs_status_ptr_t closing = nullptr;
  int links = 0;                                         // that use it
  std::map<std::array<std::byte, 64>, ucp_rkey_h> keys;  // unpacked, by MemoryKey
};

// A message that UCX has not finished sending.
struct Send {
  Link* link = nullptr;
  AmHeader header;
  uint64_t token = 0;
  const std::byte* payload = nullptr;  // the user's
  size_t bytes = 0;
  bool reading = false;         // UCX may read the user's memory
  std::vector<std::byte> copy;  // sent instead of the payload
};

// A message that has not been handed over yet.
struct Arrival {
  enum class State {
    kComplete,  // its payload, if any, lies in `data` or has been placed
    kOffered,   // a rendezvous: the sender waits for us to say where the payload shall lie
    kReceiving
  };
  Link* link = nullptr;
  AmHeader header;
  State state = State::kComplete;
  void* data = nullptr;  // UCX's descriptor, to be released
  size_t bytes = 0;      // at `data`
  bool broken = false;   // the payload did not arrive
};

class Link {
 public:
  enum class State {
    kUp,
    kFailing,  // broken, but UCX has not given back all memory of the user's
    kBroken
  };

  // `in`: AmHeader::path of what comes. An accepted link has no remote until attach().
  Link(UcxCarrier& carrier, uint64_t in, bool dialled, int peer_rank)
      : carrier_(carrier), in_(in), dialled_(dialled), peer_rank_(peer_rank) {}
  ~Link();
  Link(const Link&) = delete;
  Link& operator=(const Link&) = delete;
  void attach(Remote& remote) noexcept;

  // Called by the path.
  bool send(const network::OutgoingFrame& frame) noexcept;
  size_t backlog_bytes() const noexcept { return backlog_bytes_; }
  uint64_t delivered_bytes() const noexcept { return delivered_bytes_; }
  // The peer's machine answers, and nobody is there.
  bool refused() const noexcept;
  std::string describe() const;
  bool sabotage() noexcept;

  // Called by the carrier. A message has come, from UCX's callback.
  ucs_status_t take(const AmHeader& header, void* data, size_t bytes, bool rendezvous);
  // Hands over what can be. True when something was.
  bool settle() noexcept;
  void fail(const std::string& why) noexcept;
  // The owner has destroyed the path: tells the peer.
  void retire() noexcept;
  void drop_arrivals() noexcept;
  // UCX holds neither memory of the user's nor records of this link.
  bool idle() const noexcept { return sends_ == 0 && receives_ == 0; }
  bool reads_user_memory() const noexcept { return reading_ != 0 || receives_ != 0; }

  UcxPath* path = nullptr;  // null: destroyed, or not made yet
  bool fresh = false;       // accepted, neither remote nor path yet
  bool marked = false;      // in the carrier's list of links with something to do
  State state() const noexcept { return state_; }
  Remote* remote() const noexcept { return remote_; }
  uint64_t in() const noexcept { return in_; }
  UcxCarrier& carrier() const noexcept { return carrier_; }
  // What the first message says of its sender's worker; empty when it says nothing.
  std::vector<std::byte> dialler_address() const;
  uint32_t dialler_generation() const noexcept;

 private:
  static constexpr int kMostSends = 256;
  static constexpr size_t kMostBytes = 8u << 20;

  Send& begin(Message message);
  void load(Send& send, const network::OutgoingFrame& frame);
  void copy_payload(Send& send, bool with_address);
  bool post(Send& send) noexcept;
  bool post_put(Send& send, const network::OutgoingFrame& frame, bool* put) noexcept;
  bool post_flush(Send& send) noexcept;
  ucp_rkey_h key_for(const network::MemoryKey& key) noexcept;
  void give_back_payload(Send& send) noexcept;
  void finish(Send& send) noexcept;
  void abandon(Send& send, ucs_status_t status) noexcept;
  void start_receiving() noexcept;
  void receive(Arrival& arrival) noexcept;
  void hand_over(Arrival& arrival) noexcept;
  bool has_room(size_t bytes) const noexcept;
  void release(Arrival& arrival) noexcept;
  void end() noexcept;
  static void on_sent(void* request, ucs_status_t status, void* user) noexcept;
  static void on_put(void* request, ucs_status_t status, void* user) noexcept;
  static void on_flushed(void* request, ucs_status_t status, void* user) noexcept;
  static void on_received(void* request, ucs_status_t status, size_t bytes, void* user) noexcept;

  UcxCarrier& carrier_;
  Remote* remote_ = nullptr;
  const uint64_t in_;
  const bool dialled_;
  const int peer_rank_;
  State state_ = State::kUp;
  int64_t failing_since_ns_ = 0;
  std::string why_;
  uint64_t next_out_ = 0;  // sequences
  uint64_t next_in_ = 0;
  std::map<uint64_t, Arrival> arrivals_;  // by sequence, from next_in_
  std::vector<std::unique_ptr<Send>> all_sends_;
  std::vector<Send*> spare_;
  std::vector<Send*> put_done_;        // puts that are at the peer; their headers are to be sent
  std::vector<uint64_t> tokens_;       // payloads that have been read; the owner is to be told
  std::vector<uint64_t> told_tokens_;  // those that it is being told of
  int sends_ = 0;                      // begun and not finished
  int reading_ = 0;                    // of them: those that may read the user's memory
  int receives_ = 0;
  size_t backlog_bytes_ = 0;
  uint64_t delivered_bytes_ = 0;
  bool heard_ = false;  // something has come from the peer
};

class UcxPath final : public network::Path {
 public:
  UcxPath(network::FrameSink& sink, Link& link) : Path(sink), link_(&link) { link.path = this; }
  ~UcxPath() override;
  bool send(const network::OutgoingFrame& frame) noexcept override { return link_->send(frame); }
  size_t backlog_bytes() const noexcept override { return link_->backlog_bytes(); }
  uint64_t delivered_bytes() const noexcept override { return link_->delivered_bytes(); }
  bool refused() const noexcept override { return link_->refused(); }
  size_t max_payload_bytes() const noexcept override { return kMaxPayloadBytes; }
  int rail() const noexcept override { return 0; }  // UCX spreads over its devices by itself
  std::string describe() const override { return link_->describe(); }
  bool sabotage() noexcept override { return link_->sabotage(); }

 private:
  static constexpr size_t kMaxPayloadBytes = 1u << 30;
  Link* link_;
};

}  // namespace tutti::transport::ucx
