// SPDX-License-Identifier: Apache-2.0
// Both ends of the side channel (address.h has its messages): steps that never wait.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <span>
#include <string>
#include <vector>

#include "src/base/clock.h"
#include "src/base/poll_set.h"
#include "src/base/socket.h"
#include "transport/rdma/address.h"

namespace tutti::transport::rdma {

// A socket that a PollSet watches for as long as this lives.
class WatchedSocket {
 public:
  WatchedSocket() noexcept = default;
  WatchedSocket(Socket socket, PollSet& polls, uint64_t key, bool writing);
  WatchedSocket(WatchedSocket&& other) noexcept { *this = std::move(other); }
  WatchedSocket& operator=(WatchedSocket&& other) noexcept;
  ~WatchedSocket() { reset(); }
  void reset() noexcept;
  void watch_as(uint64_t key, bool writing);
  const Socket& get() const noexcept { return socket_; }
  explicit operator bool() const noexcept { return static_cast<bool>(socket_); }

 private:
  Socket socket_;
  PollSet* polls_ = nullptr;
};

enum class Step : uint8_t { kWaiting, kReady, kFailed };

// A message of fixed size that comes in pieces.
class Incoming {
 public:
  // kReady when all of `into` is there.
  Step receive(const Socket& socket, std::span<std::byte> into, std::string* why) noexcept;
  void restart() noexcept { got_ = 0; }
  bool closed() const noexcept { return closed_; }  // by the peer

 private:
  size_t got_ = 0;
  bool closed_ = false;
};

inline constexpr int64_t kHandshakeNs = 10 * kNsPerSecond;
inline constexpr int64_t kAddressNs = 2 * kNsPerSecond;  // to connect to one of several addresses

// Who dials.
class Visitor {
 public:
  // `facts`: of this end. Throws nothing; what goes wrong is told by step().
  Visitor(const Secret& secret, const QueuePairFacts& facts, std::vector<SocketAddress> where,
          PollSet& polls, uint64_t key);
  // kReady: answer() is the host's end, proved.
  Step step() noexcept;
  const QueuePairFacts& answer() const noexcept { return answer_.facts; }
  const std::string& why() const noexcept { return why_; }
  // After kFailed: everywhere the answer was that nobody listens.
  bool refused() const noexcept { return refusals_ == where_.size(); }
  WatchedSocket take_socket() noexcept { return std::move(socket_); }

 private:
  enum class State : uint8_t { kConnecting, kChallenge, kAnswer, kDone, kFailed };
  Step connecting();
  Step challenged();
  Step answered();
  Step next_address(const std::string& why_not);
  Step fail(const std::string& why);
  std::string told(const char* when) const;

  const Secret& secret_;
  QueuePairFacts facts_;
  std::vector<SocketAddress> where_;
  size_t at_ = 0;
  size_t refusals_ = 0;
  PollSet& polls_;
  uint64_t key_;
  WatchedSocket socket_;
  State state_ = State::kConnecting;
  Incoming incoming_;
  Challenge challenge_;
  Visit visit_;
  Answer answer_;
  Deadline whole_, address_;
  std::string why_;      // all attempts so far
  std::string reading_;  // what the last read said
};

// Who is dialled.
class Host {
 public:
  Host(const Secret& secret, Socket socket, PollSet& polls, uint64_t key);
  // kReady: facts() is the visitor's end, proved; then answer() is due.
  Step step() noexcept;
  const QueuePairFacts& facts() const noexcept { return visit_.facts; }
  bool answer(const QueuePairFacts& own) noexcept;
  const std::string& why() const noexcept { return why_; }
  WatchedSocket take_socket() noexcept { return std::move(socket_); }

 private:
  const Secret& secret_;
  WatchedSocket socket_;
  Incoming incoming_;
  Challenge challenge_;
  Visit visit_;
  Deadline whole_;
  std::string why_;
};

}  // namespace tutti::transport::rdma
