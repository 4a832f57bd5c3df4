// SPDX-License-Identifier: Apache-2.0
// A rank's place in the bootstrap tree: connections to its parent and children, all-gather, and
// errors passed to everybody.
#pragma once

#include <deque>
#include <list>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "src/bootstrap/handshake.h"

namespace tutti::bootstrap {

// All-gather: each node sends its parent the contributions of its subtree (kUp) and its children
// everybody's (kDown): two messages per connection; per node, its subtree's bytes go up once and
// all bytes go down once per child.
//
// A connection that ends without a kBye, a deadline, an abort and a kError from a neighbour end the
// tree: the reason is kept, sent to all other neighbours at once (by the control thread, whether or
// not this rank is in a call), and thrown by every later call.
//
// State belongs to the control thread; one thread at a time calls the public functions.
class Tree {
 public:
  struct Place {
    std::shared_ptr<ControlThread> control;
    Key key{};
    Listener listener;  // where children come
    Peer self;
    int n_ranks = 0;
    uint64_t comm_id = 0;
    uint32_t index = 0;  // 0: the uplink leads to the root
    Peer parent;
    std::unique_ptr<Channel> uplink;
  };
  explicit Tree(Place place);
  ~Tree();  // says kBye, or that this rank left if the tree is not complete
  Tree(const Tree&) = delete;
  Tree& operator=(const Tree&) = delete;

  // The root says why it is over. Control thread.
  void end(Failure why) { fail(std::move(why)); }
  // The root says that all have joined. Control thread.
  void go() {
    on_go();
    signal_.notify();
  }
  // Until kGo has come. Throws what ended the tree, or `why_late` (asked on this thread) at the
  // deadline; InvalidUsage when aborted.
  void wait_complete(const Patience& patience, const std::function<Failure()>& why_late);
  std::vector<Bytes> all_gather(std::span<const std::byte> mine, const Patience& patience);
  const Place& place() const noexcept { return place_; }

 private:
  // A neighbour. The caller's thread holds pointers to links only after kGo, when no more come.
  struct Link {
    Peer peer;
    std::string name;  // of the peer, for messages
    uint32_t index = 0;
    std::unique_ptr<Channel> channel;
    std::deque<Frame> inbox;  // kUp and kDown not yet taken
    bool left = false;        // kBye has come
    bool sending = false;     // the caller's thread is inside a blocking send
  };

  void start(std::unique_ptr<Channel> uplink);
  void on_child(std::unique_ptr<Gate::Visit> visit);
  Link& adopt(std::unique_ptr<Channel> channel, const Peer& peer, std::string name);
  void on_frame(Link& link, Frame frame);
  void on_link_end(Link& link);
  void on_go();
  void fail(Failure failure);
  void leave();
  uint32_t height(uint32_t index) const;  // levels below

  // True when ready() holds, false at the deadline. Throws what ended the tree; InvalidUsage when
  // aborted. ready() runs on the control thread.
  bool await(const Patience& patience, const std::function<bool()>& ready);
  // Returns when ready() holds; throws when the tree has failed, and makes it fail by late() at the
  // deadline. Both run on the control thread.
  void wait_until(const Patience& patience, const std::function<bool()>& ready,
                  const std::function<Failure()>& late);
  [[noreturn]] void throw_failure();
  std::vector<Frame> take(std::span<Link* const> links, FrameType type, const Patience& patience);
  static Failure left_text(const Link& link);
  Failure late_text(std::span<Link* const> links, int64_t wait_ns) const;
  Bytes collect(std::span<const std::byte> mine, std::span<Link* const> children,
                const Patience& patience);
  void send(Link& link, FrameType type, std::span<const std::byte> payload,
            const Patience& patience);

  Place place_;
  Signal signal_;
  uint32_t sequence_ = 0;  // of the last all-gather; the caller's thread

  // The control thread's.
  std::list<Link> links_;  // the uplink first
  std::unique_ptr<Gate> gate_;
  bool complete_ = false;
  std::optional<Failure> failure_;
};

}  // namespace tutti::bootstrap
