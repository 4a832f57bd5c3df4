// SPDX-License-Identifier: Apache-2.0
// A network in this process's memory, for tests that want to decide what it does: when a payload is
// read, when a frame arrives, which link breaks in the middle of what, who notices it and when.
// As mean as the contract of carriers allows: payloads are read late, frames may still arrive by a
// link that one end has found broken, a frame that send() has refused while it broke may arrive.
//
// One thread. An endpoint's calls of progress() do what FakeNet::allows lets them do.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <deque>
#include <functional>
#include <map>
#include <memory>
#include <string>
#include <vector>

#include "src/base/shared_bell.h"
#include "transport/network/endpoint.h"

namespace tutti::transport::testing {

class FakeCarrier;
class FakePath;

enum class FakeEvent : uint8_t {
  kAccept,   // a dialled link reaches the other rank
  kRead,     // the payload of the oldest unread frame is read, and said to be
  kDeliver,  // one half of the oldest frame arrives
  kNotice,   // an end notices that the link is cut, or closed at the other end
};

struct FakeFrame {
  network::FrameHeader header;
  const std::byte* payload = nullptr;
  uint64_t token = 0;
  std::byte* target = nullptr;  // in the receiver's memory, when it has given a key
  std::vector<std::byte> bytes;
  bool read = false;
};

// One path, of two ends: 0 has dialled.
struct FakeLink {
  uint64_t number = 0;
  int index = 0;  // of FakeNet::n_paths
  std::array<FakeCarrier*, 2> carrier{};
  std::array<FakePath*, 2> path{};              // null: not there yet, or closed
  std::array<std::deque<FakeFrame>, 2> frames;  // by the end that has sent them
  bool accepted = false;
  bool cut = false;
  bool lends = false;              // payloads are handed over in the path's own memory
  std::array<int, 2> break_at{};   // in the how manieth next send() of that end; 0: never
  bool keeps_broken_send = false;  // and that frame arrives nevertheless

  size_t waiting_bytes(int end) const;
};

class FakeNet {
 public:
  int n_paths = 2;
  int n_rails = 1;
  bool writes_to_memory = false;    // as RDMA does
  size_t capacity_bytes = 1 << 20;  // of one direction of a link
  bool answers = true;              // dials reach the other rank
  bool refuses = false;             // else: its machine says that nobody listens
  std::function<bool(FakeEvent, FakeLink&, int end)> allows = [](FakeEvent, FakeLink&, int) {
    return true;
  };
  // Made by a dial, before anything is sent.
  std::function<void(FakeLink&)> made = [](FakeLink&) {};

  // Nothing gets through any more but what `allows` still delivers before the ends notice.
  static void cut(FakeLink& link) { link.cut = true; }
  // Open links: accepted, not cut, both ends there.
  std::vector<FakeLink*> open_links() const;
  // Of a frame that has just arrived at that end of a link: by which other one it arrives once more
  // later; null: it does not.
  std::function<FakeLink*(FakeLink&, int end)> repeats = [](FakeLink&, int) { return nullptr; };

  std::vector<std::unique_ptr<FakeLink>> links;  // all that have an end, or did when last looked at
  std::map<int, FakeCarrier*> carriers;          // by rank
  uint64_t made_so_far = 0;
};

class FakePath final : public network::Path {
 public:
  FakePath(network::FrameSink& sink, FakeCarrier& carrier, FakeLink& link, int end);
  ~FakePath() override;
  bool send(const network::OutgoingFrame& frame) noexcept override;
  size_t backlog_bytes() const noexcept override { return link_.waiting_bytes(end_); }
  uint64_t delivered_bytes() const noexcept override { return handed_ - backlog_bytes(); }
  size_t max_payload_bytes() const noexcept override { return 1 << 20; }
  int rail() const noexcept override;
  std::string describe() const override;
  bool refused() const noexcept override { return refused_; }
  bool sabotage() noexcept override;

  void serve(bool* moved) noexcept;
  uint64_t handed_bytes() const { return handed_; }

 private:
  bool read_one() noexcept;
  bool deliver_half() noexcept;
  void repeat(const FakeFrame& frame);
  void break_down(const std::string& why) noexcept;
  bool allows(FakeEvent event) const;
  void drop_unread();

  FakeCarrier& carrier_;
  FakeLink& link_;
  const int end_;
  bool broken_ = false;
  bool refused_ = false;
  bool half_ = false;  // of the frame that arrives
  std::byte* into_ = nullptr;
  uint64_t handed_ = 0;
};

class FakeCarrier final : public network::Carrier {
 public:
  FakeCarrier(FakeNet& net, int rank);
  ~FakeCarrier() override;
  std::string_view name() const noexcept override { return "fake"; }
  std::vector<std::byte> address() const override { return {}; }
  Reach reach(const Peer&) const override { return {.reachable = true, .reason = {}}; }
  std::string describe() const override { return "fake"; }
  int paths_to(const Peer&) const override { return net.n_paths; }
  std::unique_ptr<network::Path> dial(const Peer& peer, int index, network::FrameSink& sink,
                                      std::string* why) override;
  void listen(network::PathAcceptor& acceptor) override { acceptor_ = &acceptor; }
  Status progress(bool* moved) noexcept override;
  int event_fd() const noexcept override { return -1; }
  bool arm(bool) noexcept override { return true; }
  network::MemoryKey expose(std::byte* base, size_t bytes) override;

  FakeNet& net;
  const int rank;
  std::vector<FakePath*> paths;  // the sessions' own

 private:
  network::PathAcceptor* acceptor_ = nullptr;
};

// A rank on that network.
class FakeRank {
 public:
  FakeRank(FakeNet& net, int rank, int n_ranks, int64_t patience_ns = kPatienceNs);
  Peer peer(int other) const { return {.rank = other, .process = {}, .address = {}}; }
  network::Session& with(int other) { return endpoint->session(peer(other)); }
  Status move(bool all_credits = true) {
    const std::lock_guard lock(endpoint->mutex());
    return endpoint->move(nullptr, all_credits);
  }

  static constexpr uint64_t kCommId = 7;
  static constexpr int64_t kPatienceNs = 5 * kNsPerSecond;
  const int rank;
  MemoryBudget budget;
  SharedBell bell = SharedBell::allocate();
  LocalConfig config;
  std::shared_ptr<network::Endpoint> endpoint;  // shared with regions
};

}  // namespace tutti::transport::testing
