// SPDX-License-Identifier: Apache-2.0
// One socket between two hubs, with what has been sent and received over it.
#pragma once

#include <array>
#include <atomic>
#include <cstdint>
#include <deque>
#include <map>
#include <memory>
#include <mutex>
#include <set>
#include <span>
#include <utility>
#include <vector>

#include "src/base/control_thread.h"
#include "src/base/socket.h"
#include "src/device/device.h"
#include "transport/shm/peer_process.h"
#include "transport/shm/region_table.h"
#include "transport/shm/wire.h"

namespace tutti::transport::shm {

// How far the start of a connection has come; written by the control thread, read by the sender.
struct Handshake {
  enum class State : int { kWaiting, kAccepted, kRefused };
  ConnectionId id;
  BellHandle peer_bell;  // these three are set before `state` leaves kWaiting and never again
  bool peer_can_pull = false;
  Refusal why = Refusal::kNone;
  std::atomic<State> state{
      State::kWaiting};  // release by the control thread pairs with acquire in ShmSend::ready
};

// An import_region() that waits for the peer's answer; guarded by the hub's lock.
struct Want {
  bool answered = false;
  Refusal why = Refusal::kNone;
  std::shared_ptr<PeerRegion> region;
  BellHandle bell;
};

class Link {
 public:
  enum class Role : uint8_t { kClient, kServer };
  Link(Socket socket, Role role) : role_(role), socket_(std::move(socket)) {}

  Role role() const noexcept { return role_; }
  // For receiving, which is the control thread's.
  Socket& socket() noexcept { return socket_; }
  // No further packets come or go. Release by close() pairs with acquire here.
  bool closed() const noexcept { return closed_.load(std::memory_order_acquire); }
  void close() noexcept { closed_.store(true, std::memory_order_release); }
  // Closes the socket too, though connections may hold on to the link. Control thread, after the
  // socket's watch is gone.
  void disconnect() noexcept;

  // Sends in order, or keeps the packet (and duplicates of the descriptors) until flush() can. Any
  // thread. A packet that can't be kept closes the link.
  void send(std::span<const std::byte> packet, std::span<const int> descriptors = {}) noexcept;
  // True when nothing is left to send.
  bool flush() noexcept;

  // Tells the peer of the region unless it knows already. False when the socket has no room now, or
  // the link is closed.
  bool announce(const device::SharedRegion& region) noexcept;
  // The region has been told to the peer by a packet other than kRegion.
  void note_announced(uint64_t region_id);
  // Tells the peer, if it has been told of the region, to drop it or (detached) to write to it no
  // more.
  void withdraw(uint64_t region_id, device::Loss loss) noexcept;

  // Regions of the peer's process. Shared with the connections and windows that resolve references
  // in it.
  const std::shared_ptr<RegionTable>& regions() const noexcept { return regions_; }

  // Guarded by the hub's lock; `peer` is null in a server until kHello has been accepted and does
  // not change after it.
  std::shared_ptr<PeerProcess>
      peer;       // shared: its death is looked at by transports and connections too
  Cookie cookie;  // server: the peer's
  int pull_errno =
      -1;  // server: can we read the peer's memory; client: can it read ours; -1: not known yet
  ControlThread::Id watch = 0;
  std::map<ConnectionId, std::shared_ptr<Handshake>>
      handshakes;                   // client; shared with the SendConnection
  std::map<uint64_t, Want*> wants;  // client; by request, owned by the waiting thread

 private:
  struct Outgoing {
    std::vector<std::byte> packet;
    std::array<FileDescriptor, 2> descriptors;
  };
  bool try_send_locked(std::span<const std::byte> packet, std::span<const int> descriptors);
  void queue_locked(std::span<const std::byte> packet, std::span<const int> descriptors);
  bool flush_locked();

  const Role role_;
  std::atomic<bool> closed_{false};
  Socket socket_;     // sending and disconnecting: with mutex_ held
  std::mutex mutex_;  // guards the rest; the innermost lock
  std::deque<Outgoing> outbox_;
  std::set<uint64_t> announced_;
  std::shared_ptr<RegionTable> regions_ = std::make_shared<RegionTable>();
};

}  // namespace tutti::transport::shm
