// SPDX-License-Identifier: Apache-2.0
// A hundred thousand processes and their network in one thread and virtual time, for code that
// reaches the system through src/base/socket.h, control_thread.h and clock.h only.
//
// Each rank is a process with one processor: what its control thread is called for takes
// kCallbackNs of it, one after the other. Its own thread is a fiber.
#pragma once

#include <cstdint>
#include <deque>
#include <functional>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <unordered_map>
#include <unordered_set>
#include <vector>

#include "src/base/clock.h"
#include "src/base/socket.h"
#include "tests/sim/fiber.h"

namespace tutti::scale {

struct Traffic {
  uint64_t sent = 0;  // messages: calls that send
  uint64_t sent_bytes = 0;
  uint64_t received = 0;
  uint64_t received_bytes = 0;
  uint64_t knocks = 0;  // attempts to connect
  int open = 0;         // connections, this moment
  int most_open = 0;
};

class World {
 public:
  static constexpr int64_t kLatencyNs = 50 * kNsPerUs;   // one way
  static constexpr int64_t kCallbackNs = 20 * kNsPerUs;  // assumed: a wake-up, a read, a proof
  static constexpr size_t kBacklog = 4096;
  static constexpr int kFirstFd = 1 << 24;  // real ones are far below

  explicit World(int n_ranks);
  static World& current();

  // ---- of the scenario
  int64_t now() const noexcept { return now_; }
  static SocketAddress address_of(int rank);
  // Code that is called from here on is this rank's.
  void act_as(int rank) noexcept { acting_ = rank; }
  void spawn(int rank, int64_t at_ns, std::function<void()> body);
  // Until all bodies have ended; false when nothing more can happen.
  bool run();
  const Traffic& traffic(int rank) const { return of_rank_[index(rank)]; }
  // From now on connections to new listeners of rank 0's process count for itself, not for the
  // service (its directory and its root).
  void service_complete() noexcept { service_complete_ = true; }
  const Traffic& service_traffic() const noexcept { return service_; }
  // By rank: those that have an accepted connection to it now, the service's apart.
  std::vector<std::vector<int>> visitors() const;

  // ---- of src/base
  int connect(const SocketAddress& to, Deadline deadline);  // throws Error
  int listen(const SocketAddress& at, SocketAddress& bound);
  std::optional<int> accept(int listener_fd);
  void send(int fd, std::span<const std::byte> bytes);
  std::optional<size_t> receive(int fd, std::span<std::byte> into);  // 0: closed
  void close(int fd);
  SocketAddress local_address(int fd) const;
  uint64_t watch(int fd, std::function<void()> on_readable);
  uint64_t at(int64_t time_ns, std::function<void()> on_time);
  void remove(uint64_t id);
  void sleep(int64_t duration_ns);
  // Blocks the running body until wake(); false at the deadline.
  bool block(const void* what, Deadline deadline);
  void wake(const void* what);

 private:
  struct Thread {
    int rank = 0;
    uint64_t wakes = 0;  // an event of an earlier number does not wake it
    bool in_time = false;
    std::unique_ptr<sim::Fiber> fiber;
  };
  struct End {  // of a connection; or a listener
    int rank = 0;
    int peer = 0;  // 0: a listener
    bool closed = false;
    bool peer_closed = false;
    bool accepted = false;
    bool service = false;
    bool counted = false;  // among the open ones of its side
    bool called = false;   // an event that calls the watch is under way
    SocketAddress address;
    std::deque<int> backlog;
    std::vector<std::byte> input;
    size_t taken = 0;  // of input
    uint64_t watch_id = 0;
    std::shared_ptr<std::function<void()>> watch;
  };
  struct Event {
    int64_t time_ns;
    uint64_t order;
    int rank;  // whose processor it takes; -1: the network's
    std::function<void()> what;
  };

  struct Processor {
    std::deque<std::function<void()>> due;
    bool busy = false;
  };

  static size_t index(int rank) { return static_cast<size_t>(rank); }
  static uint64_t key_of(const SocketAddress& address);
  End& end(int fd) { return *ends_[static_cast<size_t>(fd - kFirstFd)]; }
  const End& end(int fd) const { return *ends_[static_cast<size_t>(fd - kFirstFd)]; }
  int new_end(int rank);
  void opened(End& end);
  Traffic& traffic_of(const End& end) { return end.service ? service_ : of_rank_[index(end.rank)]; }
  static bool readable(const End& end) {
    return end.taken < end.input.size() || end.peer_closed || !end.backlog.empty();
  }
  void notify(int fd);
  void call_watch(int fd);
  void push(int64_t time_ns, int rank, std::function<void()> what);
  void resume(Thread& thread);
  bool step();
  void run_next(int rank);

  const int n_ranks_;
  int64_t now_ = 0;
  uint64_t order_ = 0;
  int acting_ = 0;
  uint64_t next_id_ = 1;
  uint16_t next_port_ = 1024;
  bool service_complete_ = false;
  std::vector<Event> events_;  // a heap
  std::vector<Processor> processors_;
  std::vector<Traffic> of_rank_;
  Traffic service_;
  std::deque<std::unique_ptr<End>> ends_;
  std::unordered_map<uint64_t, int> listeners_;  // by address and port
  std::unordered_map<uint64_t, int> fd_of_watch_;
  std::unordered_set<uint64_t> timers_;
  std::byte* stacks_ = nullptr;  // of all threads; the process ends with it
  size_t threads_made_ = 0;
  std::vector<std::unique_ptr<Thread>> threads_;
  std::vector<Thread*> idle_;
  std::unordered_map<const void*, Thread*> blocked_;
  Thread* running_ = nullptr;
  size_t live_ = 0;
};

}  // namespace tutti::scale
