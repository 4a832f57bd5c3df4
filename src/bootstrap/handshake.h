// SPDX-License-Identifier: Apache-2.0
// Both ends of the handshake of auth.h: Gate accepts visitors on the control thread, visit() knocks
// at one.
#pragma once

#include <functional>
#include <map>
#include <memory>
#include <string>

#include "src/bootstrap/auth.h"
#include "src/bootstrap/channel.h"

namespace tutti::bootstrap {

// Throws RemoteError when the peer of a Unix socket runs as another user (and not as root): launch
// keys are no secret.
void check_peer_user(const Socket& socket, const SocketAddress& address);

// A listener whose visitors prove the key before anything of theirs is looked at. At most kMaxOpen
// connections are open at a time, the others wait in the backlog; one that has not proved itself in
// kProofNs is closed, in kCrowdedNs when others wait, so that a thousand silent strangers delay a
// rank by seconds. Lives on the control thread.
class Gate {
 public:
  static constexpr int kMaxOpen = 64;
  static constexpr int64_t kProofNs = 3 * kNsPerSecond;
  // Accepted before others on the control thread have their turn.
  static constexpr int kMaxAccepted = kMaxOpen;
  static constexpr int64_t kCrowdedNs =
      150 * kNsPerMs;  // several round trips to the other end of a continent

  struct Config {
    std::shared_ptr<ControlThread> control;
    Listener listener;
    Key key{};
    Role role = Role::kRegister;
    size_t hello_bytes = 0;  // size of the visitor's body
  };
  // A visitor that has proved the key. Counts as open until it is destroyed or release() takes its
  // channel.
  class Visit {
   public:
    ~Visit();
    const Bytes& hello() const noexcept { return hello_; }
    Channel& channel() noexcept { return *channel_; }
    // Sends the answer with our proof.
    bool answer(std::span<const std::byte> body) noexcept;
    // The same, with the reason behind it.
    void refuse(std::span<const std::byte> body, const Failure& failure) noexcept;
    std::unique_ptr<Channel> release();

   private:
    friend class Gate;
    Visit(Gate& gate, std::unique_ptr<Channel> channel)
        : gate_(gate), channel_(std::move(channel)) {}
    Gate& gate_;  // outlives the visit
    std::unique_ptr<Channel> channel_;
    Transcript transcript_;
    ControlThread::Id timer_ = 0;
    int64_t since_ns_ = 0;
    Bytes hello_;
  };

  Gate(Config config, std::function<void(std::unique_ptr<Visit>)> on_visit);
  ~Gate();
  Gate(const Gate&) = delete;
  Gate& operator=(const Gate&) = delete;
  const SocketAddress& address() const noexcept { return config_.listener.address(); }

 private:
  void watch_listener();
  void on_connections();
  void admit(Socket socket);
  void on_hello(uint64_t id, const Bytes& bytes);
  void dismiss(uint64_t id);
  void relieve();
  void closed_one();

  Config config_;
  std::function<void(std::unique_ptr<Visit>)> on_visit_;
  int open_ = 0;
  ControlThread::Id listener_watch_ =
      0;                                 // 0: the listener is left alone, because kMaxOpen are open
  ControlThread::Id retry_timer_ = 0;    // 0: none; runs when accept failed for want of descriptors
  ControlThread::Id crowded_timer_ = 0;  // 0: none; runs while kMaxOpen are open
  uint64_t next_id_ = 1;
  std::map<uint64_t, std::unique_ptr<Visit>> unproved_;
};

// What a visitor learns.
struct Answer {
  std::unique_ptr<Channel> channel;
  Bytes body;
};
struct VisitRequest {
  std::shared_ptr<ControlThread> control;
  Key key{};
  Role role = Role::kRegister;
  Bytes hello;
  size_t answer_bytes = 0;
  std::string host_name;  // for messages: "the rendezvous root at 1.2.3.4:5"
};
// The host closed before it proved the key. It has ended, or it has another key, or it made room
// for others while this visitor was slow (Gate::kCrowdedNs).
class Dismissed : public Error {
 public:
  explicit Dismissed(const std::string& host_name);
};
// Blocks the caller, not the control thread. Throws Dismissed; RemoteError when the host does not
// prove the key, or the deadline expires; InvalidUsage when aborted.
Answer visit(const VisitRequest& request, Socket socket, const Patience& patience);
// The same, but one that is dismissed comes again, up to kMostVisits times in all, as long as
// somebody listens at `to`.
inline constexpr int kMostVisits = 8;
Answer visit_again(const VisitRequest& request, Socket socket, const SocketAddress& to,
                   const Patience& patience, const std::function<bool()>& stop);

// The reason behind a refusing answer of code `code`.
Failure receive_reason(const Answer& answer, StatusCode code, const std::string& host_name,
                       const Patience& patience);

// Connects in short attempts, so that an abort or `stop` (may be empty; asked between attempts)
// ends it within 100 ms. Between them it rests, at random and the longer the longer it has waited,
// up to kLongestRestNs: of a hundred thousand ranks that want to one host, a hundred thousand per
// second knock, not a million.
inline constexpr int64_t kLongestRestNs = 2 * kNsPerSecond;
Socket connect_patiently(const SocketAddress& to, const std::string& host_name,
                         const Patience& patience, const std::function<bool()>& stop);
[[noreturn]] void throw_aborted();

}  // namespace tutti::bootstrap
