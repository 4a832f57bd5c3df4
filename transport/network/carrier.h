// SPDX-License-Identifier: Apache-2.0
// The contract of a network technology (sockets, verbs, UCX, plugins): it carries frames between
// two ranks over one or more paths. Everything else (connections as FIFOs, credits, windows,
// resending what a broken path has lost, sharing the load between paths) is done once, in this
// folder.
//
// Threads: every function of a carrier and its paths, and every callback, runs under the lock of
// the rank's Endpoint, on the thread of whoever holds it: the caller that drives the communicator,
// or the process's network thread. Nothing here blocks, ever; what takes time (connecting,
// resolving) goes on in later calls of progress().
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "src/base/error.h"
#include "transport/network/frame.h"
#include "transport/transport.h"

namespace tutti::transport::network {

class Path;
using Key = std::array<std::byte, 32>;

// A frame to be sent. The header is copied before send() returns; the payload stays as it is until
// FrameSink::sent(token), or until the path is destroyed; without a token, until the latter.
struct OutgoingFrame {
  FrameHeader header;
  const std::byte* payload = nullptr;  // header.payload_bytes of them
  uint64_t token = 0;                  // 0: nobody wants to know when the payload has been read
  const MemoryKey* into = nullptr;     // where the receiver wants the payload, when its carrier has
                                       // given a key for it; null: FrameSink::place() decides
  uint64_t into_offset = 0;            // from the beginning of that memory
  bool more = false;  // others follow at once, so it may wait for them; then Path::push() is called
};

// Who uses a path: gets what arrives on it, in the order in which it was sent on this path.
class FrameSink {
 public:
  virtual ~FrameSink() = default;
  // The payload of a frame is about to arrive (payload_bytes > 0, not kPlaced): where it shall lie,
  // room for all of it; null: throw it away. Not called for payloads that lie in the path's own
  // memory already; then arrived() has them.
  virtual std::byte* place(const FrameHeader& header) noexcept = 0;
  // The frame is complete. `payload`: where it lies, in the path's own memory, valid during the
  // call; null when it was placed, thrown away, or there is none.
  virtual void arrived(Path& path, const FrameHeader& header,
                       const std::byte* payload) noexcept = 0;
  // The path no longer reads the payload of the frame with this token.
  virtual void sent(Path& path, uint64_t token) noexcept = 0;
  // Nothing will be carried any more, frames may have been lost. `why` names what broke, both ends'
  // addresses, the system's word for it and what to look at. Payloads are no longer read when it
  // returns. Called once; the owner destroys the path later, not inside the callback.
  virtual void broken(Path& path, const std::string& why) noexcept = 0;
};

// Carries frames between this rank and one peer, both ways, until it breaks. It notices by itself
// when the network or the peer's machine is silent (within a few seconds, also when there is
// nothing to send), and breaks then; a peer's process that is merely stopped is no reason. Frames
// of one path arrive in order; nothing is said of the order between paths. Destroying a path closes
// it; the payloads that it was given are not read afterwards.
class Path {
 public:
  explicit Path(FrameSink& sink) : sink_(&sink) {}
  virtual ~Path() = default;
  Path(const Path&) = delete;
  Path& operator=(const Path&) = delete;

  // False: no room now, try again after progress(). A path that is still being connected, or is
  // broken, has none.
  virtual bool send(const OutgoingFrame& frame) noexcept = 0;
  // What waits for more frames (OutgoingFrame::more) goes now.
  virtual void push() noexcept {}
  // Bytes handed to send() that have not left this machine yet, as far as the path can know: what a
  // new frame has to wait for.
  virtual size_t backlog_bytes() const noexcept = 0;
  // Bytes known to have reached the other machine so far. Grows as long as the path works and has
  // frames to carry: the path's speed is measured by it, and its silence noticed.
  virtual uint64_t delivered_bytes() const noexcept = 0;
  // A part of a frame that was taken still waits for room, so the carrier wants to be woken for it
  // (arm) before everybody sleeps.
  virtual bool has_unsent() const noexcept { return false; }
  // From the next frame on, what is sent is sealed with `send_key` and what arrives opened with
  // `receive_key`. Called right after the greeting, if TUTTI_ENCRYPT asks for it. False: can't.
  virtual bool encrypt(const Key& send_key, const Key& receive_key) noexcept {
    (void)send_key, (void)receive_key;
    return false;
  }
  // The largest payload of one frame.
  virtual size_t max_payload_bytes() const noexcept = 0;
  // Which of this rank's rails (network interfaces, ports) it uses, an index from 0, and a name for
  // people: "eth0 10.0.0.1:5001 - 10.0.0.2:6002", "mlx5_0/1 gid 3 qp 77 - ...".
  virtual int rail() const noexcept = 0;
  virtual std::string describe() const = 0;
  // The rail's name alone: "eth0", "mlx5_0:1"; "": something else chooses it.
  virtual std::string rail_name() const { return {}; }
  // After broken(): the peer's machine has answered that nobody listens there, so its process is
  // gone. What else breaks (no route, no answer) may mend.
  virtual bool refused() const noexcept { return false; }
  // For tests and fault injection: breaks it as the outside world would (socket shut down, queue
  // pair to error). False when the path can't.
  virtual bool sabotage() noexcept { return false; }

  FrameSink& sink() const noexcept { return *sink_; }
  void set_sink(FrameSink& sink) noexcept { sink_ = &sink; }

 private:
  FrameSink* sink_;
};

// Takes paths that peers have dialled. The first frame on each is a kHello, which says who it is;
// `sink()` of a fresh path is the acceptor's own.
class PathAcceptor {
 public:
  virtual ~PathAcceptor() = default;
  // The carrier makes the path with this sink and hands it over. Refused (destroyed at once) when
  // too many strangers wait.
  virtual FrameSink& stranger_sink() noexcept = 0;
  virtual void accepted(std::unique_ptr<Path> path) noexcept = 0;
};

// One technology on one rank of one communicator.
class Carrier {
 public:
  // All paths are destroyed before it. Neither sinks nor the acceptor are called by it.
  virtual ~Carrier() = default;
  virtual std::string_view name() const noexcept = 0;  // "tcp"
  // What peers need to dial this rank (all of its rails); exchanged by bootstrap.
  virtual std::vector<std::byte> address() const = 0;
  // Payloads can be sealed (Path::encrypt).
  virtual bool can_encrypt() const noexcept { return false; }
  // Could paths to a peer with this address work? Decided from the two addresses alone.
  virtual Reach reach(const Peer& peer) const = 0;
  // Sentences for reports: rails in use, why others are not, zero copy, encryption.
  virtual std::string describe() const = 0;
  // How many paths to dial to a peer (sockets per peer times rails that both ends have, ...), at
  // least 1.
  virtual int paths_to(const Peer& peer) const = 0;
  // Starts path `index` of paths_to(). Returns at once; when it can't work, sink.broken() is called
  // from a later progress(), never from here. Null (with *why) when it can't even be started.
  virtual std::unique_ptr<Path> dial(const Peer& peer, int index, FrameSink& sink,
                                     std::string* why) = 0;
  // Where accepted paths go; called once, before anything else.
  virtual void listen(PathAcceptor& acceptor) = 0;

  // Moves everything that can move, on all paths: arrivals, completions, accepts, connects. Sets
  // *moved when something did. A failure means that the carrier as a whole is broken (device gone).
  virtual Status progress(bool* moved) noexcept = 0;

  // For the network thread: a descriptor that is readable (poll) when progress() has something to
  // do, armed by arm(); -1: there is none, it looks every millisecond while paths exist.
  virtual int event_fd() const noexcept = 0;
  // Called before sleeping on event_fd(), again after each wake-up. False: progress() has something
  // to do now, don't sleep. `writing`: frames wait for room, so wake up when there is some.
  virtual bool arm(bool writing) noexcept = 0;

  // Memory of this rank that payloads will be sent from again and again (staging slots), which the
  // carrier may register. True: its pages have to stay. Until the carrier's end.
  virtual bool lend(std::byte* base, size_t bytes) noexcept {
    (void)base, (void)bytes;
    return false;
  }
  // Memory of this rank that peers may write to through their paths (staging slots). The default:
  // the carrier can't, payloads go by FrameSink::place(). Kept until the carrier's end.
  // Throws Error when the device refuses.
  virtual MemoryKey expose(std::byte* base, size_t bytes) {
    (void)base, (void)bytes;
    return {};
  }
};

}  // namespace tutti::transport::network
