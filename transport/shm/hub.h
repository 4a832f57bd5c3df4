// SPDX-License-Identifier: Apache-2.0
// The process's one meeting point for shm: a listener that peers connect to, the links to them, and
// who waits for what.
//
// The control thread serves the listener and all links; it never blocks. Lock order:
// connect_mutex_, then monitor_, then a link's own lock. device's listener lock comes before
// monitor_, so nothing here allocates, frees or listens with monitor_ held.
#pragma once

#include <atomic>
#include <cstdint>
#include <deque>
#include <map>
#include <memory>
#include <mutex>
#include <set>
#include <string>
#include <vector>

#include <sys/types.h>

#include "src/base/control_thread.h"
#include "src/base/monitor.h"
#include "src/base/socket.h"
#include "src/device/device.h"
#include "transport/endpoint_key.h"
#include "transport/shm/link.h"
#include "transport/shm/wire.h"
#include "transport/transport.h"

namespace tutti::transport::shm {

// A connection that a peer has started, mapped here, until the rank that it is for accepts it.
struct Arrival {
  ConnectionId id;
  FifoLayout layout;
  Mapping memory;
  BellHandle sender_bell;
  std::shared_ptr<Link> link;  // shared with the hub, which drops it when the peer closes
};

// A peer's region as import_region() gets it.
struct Exposure {
  std::shared_ptr<PeerRegion> region;
  BellHandle bell;
};

class Hub {
 public:
  // The process's hub; made by the first user. Shared because transports and connections end in any
  // order; it goes with the last of them. A forked child gets one of its own. Throws SystemError.
  static std::shared_ptr<Hub> shared();
  Hub();
  ~Hub();
  Hub(const Hub&) = delete;
  Hub& operator=(const Hub&) = delete;

  const Address& address() const noexcept { return address_; }
  // True in a forked child: then the hub is the parent's, and only destroying it is allowed.
  bool inherited() const noexcept;

  // Makes the rank known and answers the connections that have been started to it. Throws
  // InvalidUsage when it is known already.
  void add_endpoint(const EndpointKey& key, const SharedBell& bell);
  // Drops what has been started to the rank and not been accepted.
  void remove_endpoint(const EndpointKey& key) noexcept;

  // The process, watched from now on. Throws RemoteError when it has ended (or is not visible),
  // SystemError.
  std::shared_ptr<PeerProcess> watch(const ProcessIdentity& who);
  // Watched processes that have ended so far. Release by the control thread pairs with acquire
  // here.
  uint64_t deaths() const noexcept { return deaths_.load(std::memory_order_acquire); }

  // The link to the process's hub, opened if need be. Throws RemoteError, SystemError.
  std::shared_ptr<Link> link_to(const Peer& peer, const Address& address);
  // Announces a connection over the link. Throws InvalidUsage when it has been started before.
  std::shared_ptr<Handshake> start(const std::shared_ptr<Link>& link, const ConnectPacket& packet,
                                   int memory_fd, int bell_fd);
  // The sender's end goes: the peer need not keep the connection if it has not accepted it.
  void cancel(Link& link, const Handshake& handshake) noexcept;

  // Null while nothing of that id has arrived for an endpoint of this process.
  std::shared_ptr<Arrival> find_arrival(const ConnectionId& id) noexcept;
  void take_arrival(const ConnectionId& id) noexcept;

  // Lets peers ask for the region until it is freed.
  void expose(const std::shared_ptr<const device::SharedRegion>& region);
  // Asks `rank`'s process for its region and waits. Throws InvalidUsage when the region has been
  // freed, RemoteError when no answer comes.
  Exposure import(Link& link, const EndpointKey& rank, uint64_t region, Deadline deadline);

  // Over the peers linked so far: how many may read this process, of how many, and the last errno
  // of the others.
  struct PullReport {
    int may = 0, of = 0, error_number = 0;
  };
  PullReport pull_report() noexcept;

 private:
  struct Endpoint {
    const SharedBell* bell;  // outlives the transport, which removes the endpoint
    std::map<ConnectionId, std::shared_ptr<Arrival>> arrivals;
  };
  struct WatchedProcess {
    std::shared_ptr<PeerProcess> process;  // shared with links and transports
    ControlThread::Id watch = 0;
  };
  using Descriptors = std::array<FileDescriptor, 2>;
  using LinkPtr = std::shared_ptr<Link>;

  // All below: control thread, or with monitor_ held where the name says so.
  void on_connection() noexcept;
  void on_readable(const LinkPtr& link) noexcept;
  void look_at(uint64_t process_uid) noexcept;
  void on_flush() noexcept;
  void on_region_lost(uint64_t region_id, device::Loss loss) noexcept;

  bool receive_locked(const LinkPtr& link);
  void read_all_locked(const PeerProcess& from) noexcept;
  void handle_locked(const LinkPtr& link, std::span<const std::byte> packet,
                     const Descriptors& descriptors);
  void handle_hello_locked(Link& link, const HelloPacket& packet);
  void handle_connect_locked(const LinkPtr& link, const ConnectPacket& packet,
                             const Descriptors& descriptors);
  void handle_cancel_locked(const Link& link, const CancelPacket& packet);
  void handle_want_locked(Link& link, const WantPacket& packet);
  void handle_accepted_locked(Link& link, const AcceptedPacket& packet, int bell_fd);
  void handle_refused_locked(Link& link, const RefusedPacket& packet);
  void handle_exposed_locked(Link& link, const ExposedPacket& packet,
                             const Descriptors& descriptors);

  Refusal admit_locked(const std::shared_ptr<Arrival>& arrival);
  void accept_locked(Endpoint& endpoint, const std::shared_ptr<Arrival>& arrival);
  void finish_handshake_locked(Link& link, const ConnectionId& id, Handshake::State state);
  void watch_link_locked(const LinkPtr& link);
  void admit_stranger_locked(LinkPtr link);
  bool still_strange_locked(const LinkPtr& link) noexcept;
  void drop_link_locked(const LinkPtr& link) noexcept;
  std::shared_ptr<PeerProcess> watch_locked(const ProcessIdentity& who);
  void send_locked(Link& link, std::span<const std::byte> packet,
                   std::span<const int> descriptors = {}) noexcept;
  void ring_locked(const EndpointKey& key) noexcept;
  template <typename Use>
  void for_each_link_locked(Use&& use) {
    for (const auto& [address, link] : outgoing_) use(*link);
    for (const auto& link : incoming_) use(*link);
  }

  const pid_t owner_;
  std::shared_ptr<ControlThread> control_;  // shared by its nature
  Address address_;
  Listener listener_;
  Cookie cookie_;
  uint64_t cookie_value_ = 0;  // what peers read at cookie_.address
  ControlThread::Id listener_watch_ = 0;
  uint64_t loss_listener_ = 0;
  std::atomic<uint64_t> deaths_{0};

  std::mutex connect_mutex_;  // one thread opens links at a time
  Monitor monitor_;           // guards all below; notified when a link gets an answer or closes
  bool stopping_ = false;
  ControlThread::Id flush_timer_ = 0;
  uint64_t next_request_ = 0;
  std::map<EndpointKey, Endpoint> endpoints_;
  std::map<ConnectionId, std::shared_ptr<Arrival>> parked_;  // for ranks that are not known yet
  std::map<Address, LinkPtr> outgoing_;
  std::set<LinkPtr> incoming_;
  std::deque<LinkPtr>
      strangers_;  // of incoming_, in order of arrival: have not greeted when looked at
  std::map<uint64_t, WatchedProcess> processes_;  // by process_uid
  std::map<uint64_t, std::shared_ptr<const device::SharedRegion>> exposed_;
};

}  // namespace tutti::transport::shm
