// SPDX-License-Identifier: Apache-2.0
// Events, fibers, connections.
#include "tests/scale/world.h"

#include <algorithm>
#include <cstdlib>

#include <sys/mman.h>

#include "src/base/error.h"

namespace tutti::scale {
namespace {

constexpr size_t kStackBytes = 64 << 10;
constexpr int64_t kRetryNs = 20 * kNsPerMs;  // of a connection that is refused

World* the_world = nullptr;

}  // namespace

World::World(int n_ranks)
    : n_ranks_(n_ranks), processors_(index(n_ranks)), of_rank_(index(n_ranks)) {
  void* memory = ::mmap(nullptr, kStackBytes * index(n_ranks), PROT_READ | PROT_WRITE,
                        MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
  if (memory == MAP_FAILED) std::abort();
  stacks_ = static_cast<std::byte*>(memory);
  the_world = this;
}

World& World::current() { return *the_world; }

// 10.x.y.z, counted from 10.0.0.1.
SocketAddress World::address_of(int rank) {
  const auto number = static_cast<uint32_t>(rank) + 1;
  SocketAddress address{.family = SocketAddress::Family::kIpv4};
  address.ip[0] = 10;
  address.ip[1] = static_cast<uint8_t>(number >> 16);
  address.ip[2] = static_cast<uint8_t>(number >> 8);
  address.ip[3] = static_cast<uint8_t>(number);
  return address;
}

uint64_t World::key_of(const SocketAddress& address) {
  uint64_t key = address.port;
  for (int i = 0; i < 4; ++i) key |= uint64_t{address.ip[i]} << (16 + 8 * i);
  return key;
}

// ---- events and threads

void World::push(int64_t time_ns, int rank, std::function<void()> what) {
  events_.push_back({.time_ns = std::max(time_ns, now_),
                     .order = order_++,
                     .rank = rank,
                     .what = std::move(what)});
  std::push_heap(events_.begin(), events_.end(), [](const Event& a, const Event& b) {
    return a.time_ns != b.time_ns ? a.time_ns > b.time_ns : a.order > b.order;
  });
}

bool World::step() {
  if (events_.empty()) return false;
  std::pop_heap(events_.begin(), events_.end(), [](const Event& a, const Event& b) {
    return a.time_ns != b.time_ns ? a.time_ns > b.time_ns : a.order > b.order;
  });
  Event event = std::move(events_.back());
  events_.pop_back();
  now_ = event.time_ns;
  if (event.rank < 0) {
    event.what();
    return true;
  }
  Processor& processor = processors_[index(event.rank)];
  processor.due.push_back(std::move(event.what));
  if (!processor.busy) run_next(event.rank);
  return true;
}

// The processor is taken from now on, and what came in the meantime follows.
void World::run_next(int rank) {
  Processor& processor = processors_[index(rank)];
  processor.busy = !processor.due.empty();
  if (!processor.busy) return;
  const std::function<void()> what = std::move(processor.due.front());
  processor.due.pop_front();
  acting_ = rank;
  what();
  push(now_ + kCallbackNs, -1, [this, rank] { run_next(rank); });
}

bool World::run() {
  while (live_ > 0) {
    if (!step()) return false;
  }
  return true;
}

void World::spawn(int rank, int64_t at_ns, std::function<void()> body) {
  if (idle_.empty()) {
    const std::span<std::byte> stack(stacks_ + kStackBytes * threads_made_++, kStackBytes);
    threads_.push_back(std::make_unique<Thread>());
    threads_.back()->fiber = std::make_unique<sim::Fiber>(stack);
    idle_.push_back(threads_.back().get());
  }
  Thread* thread = idle_.back();
  idle_.pop_back();
  thread->rank = rank;
  ++live_;
  thread->fiber->start(std::move(body));
  push(at_ns, -1, [this, thread] { resume(*thread); });
}

void World::resume(Thread& thread) {
  Thread* const before = running_;
  running_ = &thread;
  acting_ = thread.rank;
  thread.fiber->resume();
  running_ = before;
  if (!thread.fiber->idle()) return;
  --live_;
  idle_.push_back(&thread);
}

bool World::block(const void* what, Deadline deadline) {
  Thread& thread = *running_;
  const uint64_t wake = ++thread.wakes;
  thread.in_time = false;
  blocked_[what] = &thread;
  if (deadline.time_ns() != INT64_MAX) {
    push(deadline.time_ns(), -1, [this, what, &thread, wake] {
      if (thread.wakes != wake) return;
      blocked_.erase(what);
      ++thread.wakes;
      resume(thread);
    });
  }
  thread.fiber->suspend();
  return thread.in_time;
}

void World::wake(const void* what) {
  const auto found = blocked_.find(what);
  if (found == blocked_.end()) return;
  Thread& thread = *found->second;
  blocked_.erase(found);
  const uint64_t wake = ++thread.wakes;
  thread.in_time = true;
  push(now_, -1, [this, &thread, wake] {
    if (thread.wakes == wake) resume(thread);
  });
}

void World::sleep(int64_t duration_ns) {
  const char here = 0;
  block(&here, Deadline::at_ns(now_ + std::max<int64_t>(duration_ns, 0)));
}

// ---- connections

int World::new_end(int rank) {
  ends_.push_back(std::make_unique<End>());
  ends_.back()->rank = rank;
  return kFirstFd + static_cast<int>(ends_.size()) - 1;
}

void World::opened(End& end) {
  end.counted = true;
  Traffic& traffic = traffic_of(end);
  traffic.most_open = std::max(traffic.most_open, ++traffic.open);
}

int World::listen(const SocketAddress& at, SocketAddress& bound) {
  const int fd = new_end(acting_);
  bound = address_of(acting_);
  bound.port = at.port != 0 ? at.port : next_port_++;
  if (next_port_ == 0) next_port_ = 1024;
  end(fd).address = bound;
  end(fd).service = !service_complete_ && acting_ == 0;
  if (!listeners_.emplace(key_of(bound), fd).second)
    throw Error(StatusCode::kSystemError, bound.to_string() + " is taken");
  return fd;
}

int World::connect(const SocketAddress& to, Deadline deadline) {
  const int rank = acting_;
  for (;;) {
    ++of_rank_[index(rank)].knocks;
    sleep(kLatencyNs);
    const auto found = listeners_.find(key_of(to));
    const bool room = found != listeners_.end() && end(found->second).backlog.size() < kBacklog;
    if (room) {
      const int listener = found->second;
      const int ours = new_end(rank);
      const int theirs = new_end(end(listener).rank);
      end(ours).peer = theirs;
      end(ours).address = address_of(rank);
      end(theirs).peer = ours;
      end(theirs).address = end(listener).address;
      end(theirs).service = end(listener).service;
      opened(end(ours));
      end(listener).backlog.push_back(theirs);
      notify(listener);
      sleep(kLatencyNs);
      return ours;
    }
    // Refused: again a little later. No room: nothing comes back.
    const int64_t left_ns = deadline.left_ns();
    sleep(found == listeners_.end() ? std::min(kRetryNs, left_ns) : left_ns);
    if (deadline.expired())
      throw Error(StatusCode::kRemoteError, "no answer from " + to.to_string());
  }
}

std::optional<int> World::accept(int listener_fd) {
  std::deque<int>& backlog = end(listener_fd).backlog;
  if (backlog.empty()) return std::nullopt;
  const int fd = backlog.front();
  backlog.pop_front();
  end(fd).accepted = true;
  opened(end(fd));
  return fd;
}

void World::send(int fd, std::span<const std::byte> bytes) {
  End& from = end(fd);
  ++traffic_of(from).sent;
  traffic_of(from).sent_bytes += bytes.size();
  push(now_ + kLatencyNs, -1,
       [this, to = from.peer, data = std::vector<std::byte>(bytes.begin(), bytes.end())] {
         End& peer = end(to);
         if (peer.closed) return;
         ++traffic_of(peer).received;
         traffic_of(peer).received_bytes += data.size();
         peer.input.insert(peer.input.end(), data.begin(), data.end());
         notify(to);
       });
}

std::optional<size_t> World::receive(int fd, std::span<std::byte> into) {
  End& from = end(fd);
  const size_t there = from.input.size() - from.taken;
  if (there == 0) return from.peer_closed ? std::optional<size_t>(0) : std::nullopt;
  const size_t count = std::min(there, into.size());
  std::copy_n(from.input.begin() + static_cast<ptrdiff_t>(from.taken), count, into.begin());
  from.taken += count;
  if (from.taken == from.input.size()) {
    from.input = {};
    from.taken = 0;
  }
  return count;
}

void World::close(int fd) {
  End& ours = end(fd);
  ours.closed = true;
  ours.input = {};
  ours.watch = nullptr;
  if (ours.peer == 0) {
    listeners_.erase(key_of(ours.address));
    for (const int waiting : ours.backlog) close(waiting);
    return;
  }
  if (ours.counted) --traffic_of(ours).open;
  push(now_ + kLatencyNs, -1, [this, to = ours.peer] {
    if (end(to).closed) return;
    end(to).peer_closed = true;
    notify(to);
  });
}

SocketAddress World::local_address(int fd) const { return end(fd).address; }

std::vector<std::vector<int>> World::visitors() const {
  std::vector<std::vector<int>> visitors(index(n_ranks_));
  for (const auto& each : ends_) {
    if (each->accepted && !each->closed && !each->service)
      visitors[index(each->rank)].push_back(end(each->peer).rank);
  }
  return visitors;
}

// ---- the control threads

void World::notify(int fd) {
  End& about = end(fd);
  if (about.watch == nullptr || about.called || !readable(about)) return;
  about.called = true;
  push(now_, about.rank, [this, fd] { call_watch(fd); });
}

void World::call_watch(int fd) {
  End& about = end(fd);
  about.called = false;
  if (about.watch == nullptr || !readable(about)) return;
  const auto watch = about.watch;  // it may remove itself
  (*watch)();
  notify(fd);
}

uint64_t World::watch(int fd, std::function<void()> on_readable) {
  End& about = end(fd);
  about.watch_id = next_id_++;
  about.watch = std::make_shared<std::function<void()>>(std::move(on_readable));
  fd_of_watch_[about.watch_id] = fd;
  notify(fd);
  return about.watch_id;
}

uint64_t World::at(int64_t time_ns, std::function<void()> on_time) {
  const uint64_t id = next_id_++;
  timers_.insert(id);
  // Those that are removed take no processor's time.
  push(time_ns, -1, [this, id, rank = acting_, on_time = std::move(on_time)] {
    if (!timers_.contains(id)) return;
    push(now_, rank, [this, id, on_time] {
      if (timers_.erase(id) != 0) on_time();
    });
  });
  return id;
}

void World::remove(uint64_t id) {
  timers_.erase(id);
  const auto found = fd_of_watch_.find(id);
  if (found == fd_of_watch_.end()) return;
  End& about = end(found->second);
  if (about.watch_id == id) about.watch = nullptr;
  fd_of_watch_.erase(found);
}

}  // namespace tutti::scale
