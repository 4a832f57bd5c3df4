// SPDX-License-Identifier: Apache-2.0
// The virtual network: what ranks have published travels to where it is looked for, late, and not
// always.
//
// Each connection is two copies of its memory, one at each end. A rank's commits, releases and
// announcements are taken from its copy at the moment it rings (or, rung or not, when it next
// waits), travel, and are put into the other copy: in order within one direction of one connection,
// in any order otherwise. Ranks of one host share memory: their announcements are seen at once, as
// they would be in a mapping, and they may refer to each other's buffers. Slots that a rank has
// given back are overwritten at once, since the peer may write to them from then on.
#pragma once

#include <algorithm>
#include <array>
#include <cstdint>
#include <deque>
#include <memory>
#include <string>
#include <vector>

#include "src/base/error.h"
#include "src/base/shared_bell.h"
#include "tests/sim/world.h"
#include "transport/transport.h"

namespace tutti::sim {

struct NetworkShape {
  uint32_t n_lines = 8;        // of each connection, a power of two
  int64_t delay_min_ns = 500;  // between hosts
  int64_t delay_max_ns = 5000;
  int slow_percent = 0;  // messages that take up to slow_max_ns
  int64_t slow_max_ns = 0;
  int64_t detect_max_ns = 20 * kNsPerMs;  // from a crash to where a transport can tell
  int unreferable_percent = 0;            // memory that is not registered
};

class Network;

// One connection.
class Wire final : public Handler {
 public:
  // Packets of one direction, in order.
  enum What : uint32_t { kForward, kBackward, kOffered, kAttached, kMapped };

  // `source` and `sink` are ranks of the world; those of `id` are ranks of one communicator.
  struct Ends {
    int source = 0;
    int sink = 0;
  };
  void open(Network& network, const transport::ConnectionId& id, Ends ends,
            const transport::FifoLayout& layout, Doorbell* rings);
  void on_event(uint32_t what, uint64_t argument) override;

  const transport::ConnectionId& id() const noexcept { return id_; }
  int source() const noexcept { return ends_.source; }
  int sink() const noexcept { return ends_.sink; }
  bool shared_memory() const noexcept { return shared_memory_; }
  bool broken() const noexcept { return broken_; }
  bool offered() const noexcept { return offered_; }
  bool attached() const noexcept { return attached_; }
  void attach_sender(transport::SendView* view) noexcept;
  void attach_receiver(transport::RecvView* view);
  void detach_sender() noexcept { send_ = nullptr; }
  void detach_receiver() noexcept { recv_ = nullptr; }
  // What an end has published; `rung`: it has rung too.
  void carry_forward(bool rung);
  void carry_back(bool rung);
  // Both ends find it broken, what is on its way is lost.
  void break_off() noexcept { broken_ = true; }
  // Nothing that has not arrived yet will.
  void cut() noexcept { cut_ = true; }
  // The peer's memory is mapped here from now on; rings when it was not before.
  bool mapped();
  // A number of this connection's own, for chance that does not depend on when it is asked for.
  uint64_t draw() const noexcept { return draw_; }
  // When the last packet of a direction is due.
  int64_t due_ns(bool forward) const noexcept {
    return forward ? std::max(forward_.last_ns, offer_due_ns_)
                   : std::max(back_.last_ns, attach_due_ns_);
  }
  Doorbell* send_ring() noexcept { return send_ring_; }
  Doorbell* recv_ring() noexcept { return recv_ring_; }

 private:
  enum class Kind : uint8_t { kLine, kReleased, kFailure, kRing };
  struct Packet {
    Kind kind = Kind::kRing;
    bool rung = false;
    uint64_t value = 0;  // header, count, or failure
    uint32_t area = UINT32_MAX;
    std::array<std::byte, transport::kInlineBytes> line{};
    size_t offset = 0;             // of the bytes in the area
    std::vector<std::byte> bytes;  // of the message
  };
  struct Lane {
    std::vector<Packet> packets;  // kept for their memory; a ring
    size_t head = 0;
    size_t count = 0;
    int64_t last_ns = 0;
    Packet& push();
    Packet& front() { return packets[head]; }
    void pop();
  };
  void send(Lane& lane, What what);
  void deliver_forward();
  void deliver_back();
  void arrive(Packet& packet, bool at_sink);
  void spoil_released();
  std::byte* sink_area(uint32_t index) noexcept;

  Network* network_ = nullptr;
  transport::ConnectionId id_;
  Ends ends_;
  uint64_t draw_ = 0;
  transport::FifoLayout layout_;
  bool shared_memory_ = false, offered_ = false, attached_ = false, broken_ = false, cut_ = false;
  bool mapping_ = false, is_mapped_ = false;
  std::vector<std::byte> memory_;  // both copies, aligned by hand
  std::byte* at_source_ = nullptr;
  std::byte* at_sink_ = nullptr;
  transport::SendView* send_ = nullptr;
  transport::RecvView* recv_ = nullptr;
  Doorbell* send_ring_ = nullptr;
  Doorbell* recv_ring_ = nullptr;
  uint64_t carried_ = 0;         // messages
  uint64_t returned_ = 0;        // releases
  uint64_t source_failure_ = 0;  // announced by the sender
  uint64_t sink_failure_ = 0;
  Lane forward_, back_;
  int64_t offer_due_ns_ = 0, attach_due_ns_ = 0;
};

class Network final : public RingSink, private Handler {
 public:
  Network();
  void begin(World& world, const NetworkShape& shape);
  void end();
  World& world() noexcept { return *world_; }
  const NetworkShape& shape() const noexcept { return shape_; }

  bool on_ring(const std::atomic<uint32_t>& word) override;
  void on_wait(int rank) override;
  void on_barrier(int rank, bool begins) override;

  // ---- for transports
  void add_bell(uint64_t comm_id, int rank, Doorbell& bell);
  void remove_bell(uint64_t comm_id, int rank);
  // Something has come for the rank: rings its bell.
  void arrived(uint64_t comm_id, int rank, bool rung);
  Wire& open(const transport::ConnectionId& id, Wire::Ends ends,
             const transport::FifoLayout& layout);
  Wire* find(const transport::ConnectionId& id) noexcept;
  // From one rank's processor to another's memory.
  int64_t draw_delay(int from, int to);
  // What the transport of `observer` knows of `rank`.
  bool known_dead(int observer, int rank) const noexcept;
  // Nothing gets through between them now.
  bool separated(int a, int b) const noexcept;
  // Does anything that the rank does reach anybody?
  bool mute(int rank) const noexcept { return world_->burying() || world_->crashed(rank); }
  // A write into the memory of a peer: after all earlier ones of this rank to it.
  struct Write {
    std::byte* region = nullptr;  // of device::with_shared
    uint64_t region_id = 0;
    size_t offset = 0;
    std::vector<std::byte> bytes;  // copied, or
    uint64_t add = 0;              // added, when there are none; and rings
    uint64_t comm_id = 0;
  };
  void write(int from, int to, Write write);
  // When all that has been published so far has come from one rank to another.
  int64_t settled_ns(int from, int to) const noexcept;

  // ---- faults
  void crash(int rank, bool silent);
  void break_connections(int a, int b);
  void part(uint32_t hosts, int64_t duration_ns);
  void stall(int from, int64_t duration_ns);
  // The rank does something that others can see, or reads what is theirs: it may stop there.
  void act(int rank);
  // Called when the rank has acted so many times.
  void on_nth_act(int rank, int64_t n, std::function<void()> then);

 private:
  friend class Wire;
  enum What : uint32_t { kWrite, kDetect, kHeal };
  struct Route {
    std::deque<Write> writes;
    int64_t last_ns = 0;
  };
  struct Trigger {
    int64_t left = 0;
    std::function<void()> then;
  };
  void on_event(uint32_t what, uint64_t argument) override;
  void apply(const Write& write, int to);
  static size_t pair(int a, int b) noexcept { return static_cast<size_t>(a * kMaxRanks + b); }

  static constexpr size_t kMaxWires = 1024;

  World* world_ = nullptr;
  NetworkShape shape_;
  std::vector<std::unique_ptr<Wire>> wires_;  // the first n_wires_ are in use
  size_t n_wires_ = 0;
  std::array<std::vector<Wire*>, kMaxRanks> outgoing_;  // by source
  std::array<std::vector<Wire*>, kMaxRanks> incoming_;  // by sink
  std::unique_ptr<Doorbell[]> rings_;                   // two per wire; never without a sleeper
  struct Bell {
    uint64_t comm_id;
    int rank;
    Doorbell* bell;
  };
  std::vector<Bell> bells_;
  std::array<Route, kMaxRanks * kMaxRanks> routes_;
  std::array<bool, kMaxRanks * kMaxRanks> dead_{};  // by observer and rank
  uint32_t parted_hosts_ = 0;
  int64_t parted_until_ns_ = 0;
  std::array<std::vector<Trigger>, kMaxRanks> triggers_;
  std::array<int64_t, kMaxRanks> stalls_{};  // for the next packet of the rank
};

}  // namespace tutti::sim
