// SPDX-License-Identifier: Apache-2.0
// The contract of a transport: connections as FIFOs of messages, references instead of bytes,
// windows with signals.
//
// One Transport object belongs to one rank of one communicator. Set-up functions throw Error;
// functions marked noexcept are progress code. Unless said otherwise a function is called by the
// thread that owns the communicator's progress. A message is (connection, sequence); it stays
// resendable until the consumer releases it.
#pragma once

#include <array>
#include <compare>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "src/base/clock.h"
#include "src/base/config.h"
#include "src/base/error.h"
#include "src/base/liveness.h"
#include "src/base/memory_budget.h"
#include "src/base/shared_bell.h"
#include "src/base/traffic.h"
#include "src/base/wait.h"
#include "transport/fifo.h"
#include "transport/slot_stores.h"

namespace tutti::transport {

// What a rank knows of a peer after bootstrap.
struct Peer {
  int rank = -1;
  ProcessIdentity process;
  std::vector<std::byte> address;  // what the peer's Transport::address() returned
};

struct ConnectionId {
  uint64_t comm_id = 0;
  int32_t source_rank = 0;
  int32_t sink_rank = 0;
  int32_t channel = 0;
  auto operator<=>(const ConnectionId&) const = default;
};

// Can this transport carry messages from this rank to the peer (and back)?
struct Reach {
  bool reachable = false;
  std::string reason;  // when not: why
};

// Where the messages of a connection are counted.
class Counted {
 public:
  Counted() = default;
  Counted(const Counted&) = delete;
  Counted& operator=(const Counted&) = delete;
  PeerTraffic& traffic() noexcept { return *traffic_; }
  // `traffic` outlives the connection. The ranks are for the log.
  void count_in(PeerTraffic& traffic, int rank, int peer) noexcept {
    traffic_ = &traffic;
    rank_ = rank;
    peer_ = peer;
  }
  int rank() const noexcept { return rank_; }
  int peer() const noexcept { return peer_; }

 private:
  PeerTraffic own_{};  // until somebody wants to know
  PeerTraffic* traffic_ = &own_;
  int rank_ = -1;
  int peer_ = -1;
};

// One of the paths that a network has to a peer, for people.
struct PathReport {
  std::string rail;  // of this rank: "eth0", "mlx5_0:1"; "": something else chooses it
  std::string what;  // with both ends' addresses
};
struct PathsReport {
  std::vector<PathReport> open;  // now
  int wanted = 0;                // how many there shall be; 0: memory, which has no paths
};

// Of every inline FIFO between two GPUs, so that all ranks cut small calls alike.
inline constexpr uint32_t kInlineFifoSlots = 8;
inline constexpr uint32_t kInlineFifoSlotBytes = 16 << 10;

// A connection's memory where this rank's GPU finds it, laid out as FifoLayout says. Addresses are
// the GPU's, of 8 bytes; lines 0: there is none, and kernels use the memory behind `view`, which
// the host shares with them.
struct DeviceFifo {
  uint64_t lines = 0;
  uint64_t release_word = 0;
  uint64_t areas = 0;
  FifoLayout layout;
  // Another FIFO of the same two ranks for small messages, whose data carry their own flags (see
  // DeviceProtocol of src/exec/cuda/device_program.h); slot_bytes 0: there is none. All zero at
  // first, the word that counts what was given back included.
  struct Inline {
    uint64_t slots = 0;  // 128-byte aligned
    uint64_t released = 0;
    uint32_t n_slots = 0;      // kInlineFifoSlots
    uint32_t slot_bytes = 0;   // kInlineFifoSlotBytes
    bool whole_lines = false;  // 128 bytes of a warp arrive whole: NVLink
  } inline_fifo;
};

// The sender's end of a connection. Destroying it while messages are unreleased is allowed (abort).
class SendConnection : public Counted {
 public:
  SendView view;
  SlotStores stores;
  uint64_t retried = 0;  // number of the last message that found no room at first
  DeviceFifo device;
  bool by_value = false;        // the receiver is a GPU: it can't follow references
  bool needs_progress = false;  // progress() does something: set by transports that are not memory
  bool same_process = false;    // the receiver reads references at their address in this process
  virtual ~SendConnection() = default;
  // True once the receiver's process has attached. Nothing may be committed before. Until then
  // returns false, or a failure.
  virtual Status ready(bool* is_ready) noexcept = 0;
  // Transports that are not memory move committed messages and credits here; memory transports keep
  // the default.
  virtual Status progress() noexcept { return kOkStatus; }
  // Messages have been committed: carries them on. Called where needs_progress, at the end of each
  // step of an operation, so that nothing is left lying when it was the last.
  virtual void nudge() noexcept {}
  // Gives the memory of the staging slots back to the system, and its charge. Only while
  // view.drained(): then nobody reads a slot before it is written again. Returns what became free.
  virtual size_t rest() noexcept { return 0; }
  // Charges the slots again, before messages are staged. Throws SystemError above the memory cap.
  virtual void resume() {}
  // Fills `reference` for a message of [data, data+bytes) if the receiver can reach these bytes
  // where they are: kMapped when they lie in shared memory that the receiver maps, kPulled when it
  // can read them from this process. Returns false when neither holds. First use of a region may
  // pass its descriptor to the peer. Scheduling rule: the source must stay unchanged until
  // view.drained() or until its message is released.
  virtual bool reference(const void* data, size_t bytes, bool allow_pull, MessageKind* kind,
                         DirectReference* reference) noexcept {
    (void)data, (void)bytes, (void)allow_pull, (void)kind, (void)reference;
    return false;
  }
};

// The receiver's end.
class RecvConnection : public Counted {
 public:
  RecvView view;
  DeviceFifo device;
  bool needs_progress = false;
  virtual ~RecvConnection() = default;
  virtual Status progress() noexcept { return kOkStatus; }
  // Messages have been released: tells the sender, where it may be waiting for that. As above.
  virtual void nudge() noexcept {}
  // Where a kMapped reference lies in this process. In progress while the region's descriptor is
  // still on its way.
  virtual Status map(const DirectReference& reference, const std::byte** data) noexcept {
    (void)reference, (void)data;
    return Status{StatusCode::kInternalError, -1, "this transport has no mapped references"};
  }
  // Copies bytes [offset, offset+bytes) of a kPulled reference into `into`; the caller bounds
  // `bytes` per call. Rechecks after reading that the sender's process is the one that sent the
  // message.
  virtual Status pull(const DirectReference& reference, size_t offset, std::byte* into,
                      size_t bytes) noexcept {
    (void)reference, (void)offset, (void)into, (void)bytes;
    return Status{StatusCode::kInternalError, -1, "this transport can't read a peer's memory"};
  }
};

// Memory of a peer that this rank may write to (windows). Offsets are checked against the region's
// size.
class RemoteRegion {
 public:
  virtual ~RemoteRegion() = default;
  virtual size_t bytes() const noexcept = 0;
  // Copies into the peer's memory. Visible to the peer once a later add_signal() of this rank is
  // visible.
  virtual Status put(size_t offset, const void* data, size_t bytes) noexcept = 0;
  // Copies 8-byte words of the peer's memory, from a multiple of 8, in ascending order, each with
  // acquire order. Afterwards everything that the peer had published to this rank before (messages,
  // releases, notices) is visible too. RemoteError when the peer has to answer and has not until
  // the deadline.
  virtual Status read(size_t offset, std::span<uint64_t> words,
                      Deadline deadline) const noexcept = 0;
  // Adds to the 8-byte counter at `offset` (multiple of 8), with release order, and wakes the peer.
  virtual Status add_signal(size_t offset, uint64_t value) noexcept = 0;
};

struct TransportOptions {
  uint64_t comm_id = 0;
  int rank = 0;
  MemoryBudget* budget = nullptr;  // outlives the transport and its connections; charged for them
  const SharedBell* bell =
      nullptr;  // what this rank sleeps on; peers ring it after every commit, release and signal;
                // outlives the transport, and peers may ring it after that (see shared_bell.h)
  int n_ranks = 0;  // of the communicator; 0: not told
  // What only the ranks of this communicator know: networks prove it to each other, and derive
  // their keys from it.
  std::array<std::byte, 32> secret{};
  const LocalConfig* config = nullptr;  // outlives the transport; null: the defaults
  int device = -1;  // this rank's GPU, as the CUDA driver counts; -1: it is a host rank
};

class Transport {
 public:
  virtual ~Transport() = default;
  virtual std::string_view name() const noexcept = 0;  // "shm"
  // A network: peers may be unreachable without being dead, and their failures name the link.
  virtual bool crosses_hosts() const noexcept { return false; }
  // What peers need to reach this rank; exchanged by bootstrap, opaque to everybody else.
  virtual std::vector<std::byte> address() const = 0;
  virtual Reach reach(const Peer& peer) const = 0;
  // It is going to be used: called once, after the peers' addresses are known and before anything
  // below. Until then a transport takes no thread.
  virtual void start() {}
  // What direct messages this transport can carry here, and why not others; for reports and
  // the log.
  virtual std::string direct_capability() const = 0;

  // Starts a connection and returns at once; never waits for the peer.
  virtual std::unique_ptr<SendConnection> connect(const ConnectionId& id, const Peer& to,
                                                  const FifoLayout& layout) = 0;
  // The receiving end of a connection that the peer has started; null while it has not. Each id is
  // accepted once.
  virtual std::unique_ptr<RecvConnection> try_accept(const ConnectionId& id, const Peer& from) = 0;

  // Windows. Token for a SharedRegion of this process, to be sent to the peers by the caller;
  // throws InvalidArgument when the memory can't be exposed (not from tuttiMemAlloc).
  virtual std::vector<std::byte> export_region(const void* base, size_t bytes) = 0;
  // Collective partners call it with the token of `from`; waits at most until the deadline. Throws
  // InvalidUsage when the memory has been freed, RemoteError when the peer is gone or does not
  // answer. After an answer, InvalidUsage included, all that the peer had published to this rank
  // before is visible.
  virtual std::unique_ptr<RemoteRegion> import_region(const Peer& from,
                                                      std::span<const std::byte> token,
                                                      Deadline deadline) = 0;

  // To a peer that a connection was made to or from, for reports. Any thread.
  virtual PathsReport paths(const Peer& peer) const {
    (void)peer;
    return {};
  }
  // A failure of a peer that the transport noticed by itself (process gone); kOk when it knows of
  // none. Any thread.
  virtual Status peer_failure(int rank) const noexcept {
    (void)rank;
    return kOkStatus;
  }
  // The communicator has failed because of that peer: the transport's end does not wait until what
  // was sent to it has reached it. Any thread.
  virtual void give_up(int rank) noexcept { (void)rank; }
};

// One row per transport, in order of preference. transport/CMakeLists.txt names the folders;
// registry.cc has the rows.
struct TransportRow {
  const char* name;
  const char* doc;  // one sentence
  std::unique_ptr<Transport> (*create)(
      const TransportOptions& options);  // throws Error when it can't work here, saying why
  bool crosses_hosts = false;
  bool only_when_named = false;  // opened only when TUTTI_TRANSPORT names it
  bool between_gpus = false;     // for ranks with a TransportOptions::device
};
std::span<const TransportRow> transport_table();

}  // namespace tutti::transport
