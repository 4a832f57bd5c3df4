// SPDX-License-Identifier: Apache-2.0
// One rank on a network: its carrier, a session per peer, its windows, and the lock over all of it.
//
// Two threads may move it: the one that drives the communicator, whenever a connection is asked to
// progress, and the process's network thread while nobody does (pump.h). Whoever holds the lock
// runs the carrier's callbacks.
#pragma once

#include <cstdint>
#include <map>
#include <memory>
#include <mutex>
#include <string>
#include <vector>

#include "transport/network/carrier.h"
#include "transport/network/network_thread.h"
#include "transport/network/session.h"
#include "transport/network/transfers.h"
#include "transport/network/windows.h"

namespace tutti::transport::network {

// Whether the network thread waits for the carrier's descriptor.
enum class Armed : uint8_t { kNot, kReading, kReadingAndWriting };

class Endpoint final : public PathAcceptor {
 public:
  // `transfers`: its peers are agents, not ranks; outlives the endpoint.
  Endpoint(const TransportOptions& options, std::unique_ptr<Carrier> carrier,
           Transfers* transfers = nullptr);
  ~Endpoint() override;

  // From now on the network thread looks after it; before, it moves only when it is called. Throws
  // SystemError.
  void start();
  std::mutex& mutex() noexcept { return mutex_; }

  // Under the lock, from here on, except where said.

  // Constant.
  int rank() const noexcept { return options_.rank; }
  uint64_t comm_id() const noexcept { return options_.comm_id; }
  MemoryBudget& budget() const noexcept { return *options_.budget; }
  const Key& secret_of(int peer) const noexcept {
    return transfers_ != nullptr ? transfers_->secret_of(peer) : options_.secret;
  }
  std::string name_of(int peer) const {
    return transfers_ != nullptr ? transfers_->name_of(peer) : "rank " + std::to_string(peer);
  }
  Transfers* transfers() const noexcept { return transfers_; }
  bool encrypts() const noexcept { return encrypts_; }
  int64_t patience_ns() const noexcept { return patience_ns_; }
  Carrier& carrier() const noexcept { return *carrier_; }
  // Silent after close(): the bell need not outlive the transport.
  void ring_own_bell() noexcept;
  // Whoever drives the communicator sleeps on its bell, or is about to.
  bool caller_sleeps() const noexcept;
  // Calls of poll() that were not on the way to sleep.
  uint64_t polls() const noexcept { return polls_; }
  void set_armed(Armed armed) noexcept { armed_ = armed; }

  Session& session(const Peer& peer);        // made on first use
  Session* find_session(int peer) noexcept;  // null: none yet
  // For the caller that drives the communicator; takes the lock, unless the network thread has it
  // and so does the work already. `all_credits`: nothing else is left to do.
  Status poll(Session& session, bool all_credits) noexcept;
  // The same for all sessions at once.
  Status poll_all() noexcept;
  // Ends a session: what it has queued goes nowhere.
  void drop_session(int peer) noexcept;
  // Takes the lock. A failure of the peer that the network has noticed.
  Status peer_failure(int peer) noexcept;
  Exports& exports() noexcept { return exports_; }

  // Takes what has arrived and sends what can be sent. `only`: the session that the caller waits
  // for; null: all. Timers are looked at now and then.
  Status move(Session* only, bool all_credits) noexcept;
  // At the end of a call that moved it outside of poll(): what finds no room is the network
  // thread's.
  void leave_to_thread() noexcept;
  // A session has work for the first time: dials now.
  void begin(Session& session) noexcept;
  // Frames wait for room on a path.
  bool wants_to_write() const noexcept;
  bool has_sessions() const noexcept { return !sessions_.empty(); }
  // Waits, bounded, until the peers have everything; then says goodbye and closes all paths. Takes
  // the lock itself.
  void close() noexcept;

  // Of sessions.
  Hello hello_to(int peer) noexcept;
  std::shared_ptr<RecvStream> make_receiver(const ConnectionId& id, uint32_t number,
                                            const FifoLayout& layout);
  void serve_window(Session& from, const FrameHeader& header, const std::byte* payload) noexcept;
  // The first frame of a stranger.
  void meet(SessionPath& stranger, const FrameHeader& header) noexcept;

  std::string describe() const;

  // Of the carrier.
  FrameSink& stranger_sink() noexcept override;
  void accepted(std::unique_ptr<Path> path) noexcept override;

 private:
  Session& session_with(int peer);
  int admit(const Hello& hello) noexcept;
  void tick(int64_t now) noexcept;
  void settle_strangers() noexcept;

  std::mutex mutex_;
  const TransportOptions options_;
  Transfers* const transfers_;
  const bool encrypts_;
  const int64_t patience_ns_;
  // Declared before the sessions, whose paths are the carrier's.
  std::unique_ptr<Carrier> carrier_;
  std::map<int, std::unique_ptr<Session>> sessions_;
  std::unique_ptr<SessionPath> next_stranger_;
  std::vector<std::unique_ptr<SessionPath>> strangers_;
  Exports exports_;
  Status broken_ = kOkStatus;  // the carrier as a whole
  uint32_t paths_named_ = 0;
  int64_t ticked_ns_ = 0;
  bool closed_ = false;
  uint64_t polls_ = 0;
  Armed armed_ = Armed::kNot;
  std::shared_ptr<NetworkThread> thread_;  // shared: endpoints end in any order
};

}  // namespace tutti::transport::network
