// SPDX-License-Identifier: Apache-2.0
// Everything between this rank and one peer: the paths, the frames under way, the connections.
//
// Frames that matter are numbered per session and kept until the peer has acknowledged them, so
// when a path breaks, what it has lost goes by another. Before it does, the peer confirms that it
// has closed its end of the broken path (kAbandon, kAbandoned) and says exactly what has arrived:
// else a late frame, or a second one, might still be written into a slot that has been used again
// since, or be read from memory that its owner has back.
//
// Under the endpoint's lock. Callbacks of paths only note what happened; pump() sends.
#pragma once

#include <cstdint>
#include <deque>
#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "transport/network/greeting.h"
#include "transport/network/ledger.h"
#include "transport/network/rail_load.h"
#include "transport/network/stream.h"
#include "transport/network/transfers.h"
#include "transport/network/windows.h"

namespace tutti::transport::network {

class Endpoint;
class Session;

// A path and what the session knows of it; also of a stranger, who has not yet said who he is.
struct SessionPath final : FrameSink {
  enum class State : uint8_t {
    kDialling,  // ours; kHello not sent yet
    kGreeting,  // kHello or kWelcome sent, the answer is awaited
    kWelcomed,  // ours; kConfirm not sent yet
    kOpen,
    kBroken,  // to be destroyed
  };

  SessionPath(Endpoint& endpoint, Session* session) : endpoint(endpoint), session(session) {}
  std::byte* place(const FrameHeader& header) noexcept override;
  void arrived(Path& path, const FrameHeader& header, const std::byte* payload) noexcept override;
  void sent(Path& path, uint64_t token) noexcept override;
  void broken(Path& path, const std::string& why) noexcept override;
  Endpoint& endpoint;
  Session* session;  // null: a stranger
  // Payloads under way, by sequence. The path writes to them until it is destroyed.
  std::map<uint64_t, std::unique_ptr<std::byte[]>> arriving;
  std::unique_ptr<Path> path;
  State state = State::kDialling;
  bool dialled = false;
  int index = 0;  // dialled: of Carrier::paths_to()
  int64_t since_ns = 0;
  Hello hello{};
  Nonce acceptor_nonce{};
  uint64_t placing = 0;                  // Placement::tag of the payload that is arriving; 0: none
  std::array<std::byte, 64> greeting{};  // a greeting's payload arrives here
  Welcome welcome{};                     // what is said, which the path may still be reading
  Confirm confirm{};

  size_t rail = 0;            // open: Path::rail()
  uint64_t handed_bytes = 0;  // to the path
  size_t backlog_bytes = 0;   // of those, when last asked
};

class Session {
 public:
  Session(Endpoint& endpoint, int peer) : endpoint_(endpoint), peer_(peer) {}

  int peer() const noexcept { return peer_; }
  // Where the peer can be dialled.
  void learn(const Peer& peer) {
    if (!address_.has_value()) address_ = peer;
  }
  // Not ok: the session is over; the reason names the peer and what broke, and stays valid.
  Status status() const noexcept {
    return failed_ ? Status{StatusCode::kRemoteError, peer_, failure_.c_str()} : kOkStatus;
  }
  void fail(std::string why) noexcept;

  std::shared_ptr<SendStream> open(const ConnectionId& id, const FifoLayout& layout);
  // The connection that the peer has opened and nobody has taken; null when there is none.
  std::shared_ptr<RecvStream> take_offer(const ConnectionId& id) noexcept;

  // Queues a frame with a payload of its own.
  void post(FrameHeader header, std::unique_ptr<std::byte[]> payload, size_t bytes);
  size_t posted_bytes() const noexcept { return posted_bytes_; }
  // Sends what can be sent: greetings, what was lost, what was posted, messages, credits (all of
  // them when `all_credits`). Destroys broken paths, so not from a callback.
  void pump(bool all_credits) noexcept;
  // Messages and credits only; from callbacks.
  void publish() noexcept;
  // The last pump() has left something for want of room.
  bool is_blocked() const noexcept { return blocked_; }
  // So it has, or a path holds a part of a frame.
  bool wants_to_write() const noexcept;
  // Dials what is missing, gives up what has been silent too long. Returns at once.
  void tick(int64_t now) noexcept;
  // All has been sent and acknowledged, or can't be any more.
  bool quiet() const noexcept;
  // Nobody waits until the peer has got everything.
  void give_up() noexcept { given_up_ = true; }
  bool peer_left() const noexcept { return peer_left_; }
  void say_goodbye() noexcept;

  Inquiries& inquiries() noexcept { return inquiries_; }

  // For one-sided transfers.
  // Frames that match are not sent again. False while a path still reads the payload of one.
  bool withdraw(const std::function<bool(const OutgoingFrame&)>& matches);
  // A path may write to what its placement has this tag.
  bool is_placing(uint64_t tag) const noexcept;
  // Breaks the paths that withdraw() or is_placing() has found busy; pump() then ends them.
  void break_paths(const std::function<bool(const OutgoingFrame&)>& reading, uint64_t placing,
                   const std::string& why);
  std::vector<PathReport> open_paths() const;
  // For tests: breaks the n-th open path.
  bool sabotage(size_t nth) noexcept;
  // For tests: messages go in parts of at most so many bytes, whatever the rails' speeds.
  void cut_messages(size_t bytes) noexcept { most_part_bytes_ = bytes; }

  // Of SessionPath.
  std::byte* place(SessionPath& from, const FrameHeader& header) noexcept;
  void arrived(SessionPath& from, const FrameHeader& header, const std::byte* payload) noexcept;
  void sent(uint64_t sequence) noexcept;
  void lost(SessionPath& path, const std::string& why, bool peer_has_closed) noexcept;
  void greet(SessionPath& from, const FrameHeader& header) noexcept;
  // Of a stranger who says that he is the peer, and has proved nothing yet.
  bool wants_stranger() const noexcept;
  void adopt(std::unique_ptr<SessionPath> stranger) noexcept;
  // Drops all paths; nothing is read or written afterwards.
  void close() noexcept;

 private:
  struct Posted {
    FrameHeader header;
    std::unique_ptr<std::byte[]> payload;
  };
  struct Dial {
    int64_t next_ns = 0;
    int64_t wait_ns = 0;
  };

  bool send(OutgoingFrame frame, std::unique_ptr<std::byte[]>& owned, bool own) noexcept;
  bool send(const OutgoingFrame& frame) noexcept;  // whose payload somebody else keeps
  bool hand_over(Sent& sent, SessionPath& path) noexcept;
  bool resend(Sent& sent) noexcept;
  bool pump_transfers() noexcept;
  SessionPath* last_path() noexcept;
  SessionPath* best_path(size_t bytes) noexcept;
  void observe_rails() noexcept;
  size_t part_bytes(const FifoLayout& layout) const noexcept;
  bool send_unsequenced(SessionPath& path, FrameHeader header, const void* payload,
                        size_t bytes) noexcept;
  void pump_greetings() noexcept;
  bool pump_lost() noexcept;
  bool pump_posted() noexcept;
  bool pump_stream(SendStream& stream) noexcept;
  bool pump_credits(RecvStream& stream, bool all) noexcept;
  void pump_ack(uint64_t batch) noexcept;
  void reap() noexcept;
  void opened(SessionPath& path) noexcept;
  void dispatch(const FrameHeader& header, const std::byte* payload) noexcept;
  void run_in_order() noexcept;
  void on_open(const FrameHeader& header, const std::byte* payload) noexcept;
  void on_failure(const FrameHeader& header) noexcept;
  void on_abandon(uint64_t path_id, const Arrivals& arrivals) noexcept;
  void on_abandoned(uint64_t path_id, const Arrivals& arrivals) noexcept;
  void post_own(FrameKind kind, uint64_t path_id) noexcept;
  void dial_missing(int64_t now) noexcept;
  bool any_path(SessionPath::State state) const noexcept;
  RecvStream* find_recv(uint32_t number) noexcept;
  void end_reading(Sent& sent) noexcept;

  Endpoint& endpoint_;
  const int peer_;
  std::optional<Peer> address_;
  bool failed_ = false;
  std::string failure_;

  std::vector<std::unique_ptr<SessionPath>> paths_;
  std::vector<RailLoad> rails_;  // by Path::rail()
  double fastest_rail_ = 1;      // bytes per ns
  double rail_ratio_ = 1;        // the fastest open rail's speed over the slowest's
  size_t most_part_bytes_ = SIZE_MAX;
  SessionPath* run_ = nullptr;  // within pump_transfers(): the path of the frames before this one
  int64_t observed_ns_ = 0;
  std::vector<Dial> dials_;     // by index of Carrier::paths_to()
  int64_t yield_until_ns_ = 0;  // the peer dials: don't
  int64_t down_since_ns_ = 0;   // no path is open; 0: one is
  bool was_open_ = false;       // ever
  bool wanted_ = false;         // something is to be sent
  int refusals_ = 0;            // since a path was open
  std::string last_break_;

  Outbox outbox_;
  Inbox inbox_;
  uint64_t told_ack_ = 0;
  std::map<uint64_t, std::vector<uint64_t>> lost_;  // by path id: wait for kAbandoned
  std::deque<uint64_t> resend_;
  std::deque<Posted> own_;  // the session's own frames
  std::deque<Posted> posted_;
  size_t posted_bytes_ = 0;
  bool blocked_ = false;
  bool goodbye_ = false;  // said
  bool peer_left_ = false;
  bool given_up_ = false;

  // Streams are shared with the connections, which may go first.
  std::vector<std::shared_ptr<SendStream>> sends_;            // by number
  std::map<uint32_t, std::shared_ptr<RecvStream>> receives_;  // by the peer's number
  // Frames that must be seen after all that were sent before them (kPut, kSignal, kRead, ...).
  struct InOrder {
    FrameHeader header;
    std::unique_ptr<std::byte[]> payload;
  };
  std::map<uint64_t, InOrder> in_order_;  // by sequence
  Inquiries inquiries_;
};

}  // namespace tutti::transport::network
