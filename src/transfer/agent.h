// SPDX-License-Identifier: Apache-2.0
// An agent: a process's end of one-sided transfers, without a communicator. It has a listener,
// regions that others may write and read, counters that they raise, and agents whose blobs it has
// imported, which it writes to and reads from.
//
// The agent's lock is its endpoint's. Whoever waits moves the endpoint; while nobody does, the
// process's network thread serves what comes, and the mover's thread copies
// (docs/design/transfer.md).
#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <deque>
#include <map>
#include <memory>
#include <mutex>
#include <set>
#include <span>
#include <string>
#include <utility>
#include <vector>

#include "src/base/config.h"
#include "src/base/memory_budget.h"
#include "src/base/shared_bell.h"
#include "src/base/wait.h"
#include "src/transfer/blob.h"
#include "src/transfer/control_page.h"
#include "src/transfer/mover.h"
#include "src/transfer/neighbour.h"
#include "src/transfer/regions.h"
#include "src/transfer/request.h"
#include "src/transfer/wire.h"
#include "transport/network/endpoint.h"

namespace tutti::transfer {

namespace network = transport::network;

// An agent whose blob has been imported.
class RemoteAgent {
 public:
  Blob blob;
  int number = 0;                            // in the sessions of this end; even
  std::pair<int32_t, int32_t> dialled_as{};  // what this end calls itself there
  std::map<uint32_t, RegionEntry> regions;   // by id
  std::unique_ptr<Neighbour> neighbour;      // null: not reached by memory
  std::string why_not_near;                  // then

  // Under the agent's lock.
  std::deque<std::shared_ptr<Request>> sending;       // puts with bytes left to hand over
  std::map<uint64_t, std::shared_ptr<Request>> open;  // by number; those that frames name
  std::set<std::shared_ptr<Request>> copying;         // those that the mover has
  bool refuses_pulls = false;
  bool released = false;

  std::string name() const;  // "agent 'decode-0' (process 17)"
};

struct AgentOptions {
  std::string name;
  Config config;
};

class Agent final : public network::Transfers {
 public:
  // Throws SystemError (no port, no memory), InvalidUsage (TUTTI_TRANSPORT names nothing that
  // carries transfers).
  explicit Agent(const AgentOptions& options);
  // Ends everything in flight.
  ~Agent() override;
  Agent(const Agent&) = delete;
  Agent& operator=(const Agent&) = delete;

  uint32_t register_region(void* base, size_t bytes);
  // Waits, bounded, until nobody uses the memory. Throws InvalidArgument when there is none.
  void deregister_region(uint32_t region);
  std::vector<std::byte> export_blob();
  std::shared_ptr<RemoteAgent> import_blob(std::span<const std::byte> bytes);
  // Ends what is in flight to it.
  void release(const std::shared_ptr<RemoteAgent>& remote) noexcept;
  // Its session's or its process's failure; kOk: none.
  Error failure_of(RemoteAgent& remote);
  std::string describe(RemoteAgent& remote);

  // Throws InvalidArgument with the descriptor's number, RemoteError when the peer has failed.
  std::shared_ptr<Request> start(const std::shared_ptr<RemoteAgent>& remote, Kind kind,
                                 std::vector<Descriptor> ranges, Signal signal);
  // True when it has ended; then nothing touches its memory.
  bool test(Request& request) noexcept;
  bool wait(Request& request, Deadline deadline) noexcept;
  // It has ended when this returns.
  void cancel(const std::shared_ptr<Request>& request) noexcept;

  // acquire: what was put before it was raised is visible; pairs with the fetch_adds.
  uint64_t counter(uint32_t which) const noexcept {
    return page_->counters[which].load(std::memory_order_acquire);
  }
  bool wait_counter(uint32_t which, uint64_t least, Deadline deadline) noexcept;

  const LocalConfig& config() const noexcept { return options_.config.local; }
  // For tests: from now on nobody may have this agent read memory for him.
  void forget_pull_token() noexcept;
  // For tests: breaks an open path to the peer.
  bool sabotage(RemoteAgent& remote, size_t nth) noexcept;

  // Of the endpoint (network::Transfers).
  void fill_hello(int peer, network::Hello* hello) noexcept override;
  int admit(const network::Hello& hello) noexcept override;
  const network::Key& secret_of(int peer) const noexcept override;
  std::string name_of(int peer) const override;
  bool may_forget(int peer) noexcept override;
  bool next(int peer, size_t most, network::OutgoingFrame* frame) noexcept override;
  void handed(int peer) noexcept override;
  network::Placement place(int peer, const network::FrameHeader& header) noexcept override;
  void arrived(network::Session& from, const network::FrameHeader& header,
               const std::byte* payload) noexcept override;
  void noted(network::Session& from, const network::FrameHeader& header,
             const std::byte* payload) noexcept override;

 private:
  friend class CopyWork;
  friend class PullWork;
  using Lock = std::lock_guard<std::mutex>;

  // A put of somebody else's that is arriving.
  struct ArrivingPut {
    uint64_t received_bytes = 0;
    uint64_t total_bytes = UINT64_MAX;  // until kBegin
    SignalWire signal;
    StatusCode code = StatusCode::kOk;
    std::string why;
  };
  // Part of a get of somebody else's.
  struct ServedGet {
    uint64_t number = 0;
    uint64_t first = 0;  // descriptor
    std::vector<RangeWire> ranges;
    size_t range = 0;
    uint64_t offset = 0;
  };
  // An agent that has dialled this one.
  struct Caller {
    std::pair<int32_t, int32_t> called{};  // itself
    std::map<uint64_t, ArrivingPut> puts;
    std::deque<ServedGet> gets;
    std::map<uint64_t, std::shared_ptr<LocalWork>> pulls;
  };

  // agent.cc
  void open_endpoint();
  void close() noexcept;
  // agent_requests.cc
  void check_request(const RemoteAgent& remote, const std::vector<Descriptor>& ranges,
                     const Signal& signal) const;
  Route route_of(const RemoteAgent& remote, const Request& request) const noexcept;
  void start_copy(const std::shared_ptr<Request>& request);
  void start_frames(const std::shared_ptr<Request>& request);
  void post_begin(network::Session& session, const std::shared_ptr<Request>& request);
  void post_get(network::Session& session, const Request& request);
  void post_pull(network::Session& session, Request& request);
  network::Session& session_of(const RemoteAgent& remote);
  bool settle(Request& request) noexcept;
  template <typename Ready>
  bool wait_until(Deadline deadline, Ready ready) noexcept;
  // agent_frames.cc
  void on_get_data(RemoteAgent& remote, const network::FrameHeader& header,
                   const std::byte* where) noexcept;
  void on_put_data(network::Session& from, Caller& caller, const network::FrameHeader& header,
                   const std::byte* where) noexcept;
  void on_begin(network::Session& from, Caller& caller, const network::FrameHeader& header,
                const std::byte* payload) noexcept;
  void on_get(network::Session& from, Caller& caller, const network::FrameHeader& header,
              const std::byte* payload);
  void on_pull(network::Session& from, Caller& caller, const network::FrameHeader& header,
               const std::byte* payload);
  void on_done(network::Session& from, RemoteAgent& remote, const network::FrameHeader& header,
               const std::byte* payload);
  void on_cancel(Caller& caller, uint64_t number) noexcept;
  void conclude_put(network::Session& from, Caller& caller, uint64_t number) noexcept;
  void answer(network::Session& to, uint64_t number, StatusCode code, const std::string& why,
              bool send_bytes = false) noexcept;
  void raise(const SignalWire& signal) noexcept;
  std::string problem_of(const RangeWire& range) noexcept;
  bool next_put(RemoteAgent& remote, size_t most, network::OutgoingFrame* frame) noexcept;
  bool next_served(int peer, Caller& caller, size_t most, network::OutgoingFrame* frame) noexcept;
  // deregister.cc
  void fail_served(uint32_t region) noexcept;
  void tell_deregistered(network::Session& session, uint32_t region,
                         const std::set<uint64_t>& numbers) noexcept;
  bool is_used(uint32_t region, const std::byte* base, size_t bytes) noexcept;
  void expel(uint32_t region, const std::byte* base, size_t bytes) noexcept;

  const AgentOptions options_;
  const std::string who_;  // as peers are told
  SharedBell bell_;
  MemoryBudget budget_;
  uint64_t id_ = 0;
  network::Key secret_{};
  uint64_t cookie_ = 0;  // neighbours look at it to know that the process is the one
  std::shared_ptr<transport::shm::Hub> hub_;  // shared by its nature
  ControlPage* page_ = nullptr;
  uint64_t pull_token_ = 0;  // as the page had it; guarded by the endpoint's lock
  uint64_t control_id_ = 0;
  bool near_ = true;  // neighbours are reached by memory
  bool far_ = true;   // others are reached at all

  // All below: under the endpoint's lock.
  Regions regions_;
  std::map<int, std::shared_ptr<RemoteAgent>> remotes_;
  std::map<int, Caller> callers_;                              // odd
  std::map<std::pair<int32_t, int32_t>, int> caller_numbers_;  // -1: has left, and can't come back
  int last_number_ = 0;
  uint64_t last_operation_ = 0;
  size_t offered_bytes_ = 0;  // of the frame that next() gave out last

  std::unique_ptr<network::Endpoint> endpoint_;
  const IdlePolicy patience_;
  Mover mover_;
};

template <typename Ready>
bool Agent::wait_until(Deadline deadline, Ready ready) noexcept {
  IdlePolicy policy = patience_;
  policy.sleep_max_ns = std::clamp<int64_t>(deadline.left_ns(), kNsPerUs, policy.sleep_max_ns);
  IdleStrategy idle(policy);
  while (true) {
    (void)endpoint_->poll_all();
    if (ready()) return true;
    if (deadline.time_ns() <= 0) return false;
    if (idle.idle(&bell_.bell()) && deadline.expired()) return ready();
  }
}

}  // namespace tutti::transfer
