// SPDX-License-Identifier: Apache-2.0
// An epoll loop over the carriers' descriptors, with a time to look again for each endpoint.
#include "transport/network/network_thread.h"

#include <pthread.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <condition_variable>
#include <csignal>
#include <map>
#include <mutex>
#include <thread>
#include <utility>
#include <vector>

#include <sys/epoll.h>
#include <sys/eventfd.h>

#include "src/base/clock.h"
#include "src/base/error.h"
#include "src/base/file.h"
#include "src/base/process_local.h"
#include "transport/network/endpoint.h"

namespace tutti::transport::network {
namespace {

constexpr int64_t kLookNs = kNsPerMs;       // at a polled endpoint, and at one without descriptor
constexpr int64_t kTickNs = 50 * kNsPerMs;  // at an armed one
constexpr int kArmRounds = 8;               // as long as something arrives while arming

}  // namespace

struct NetworkThread::Impl {
  struct Watch {
    int64_t look_ns = 0;
    uint64_t polls = 0;
    bool asked = false;  // to look, while it was being served
  };

  Impl();
  ~Impl();
  void run();
  void serve(Endpoint& endpoint, Watch& watch) noexcept;
  bool arm(Endpoint& endpoint) noexcept;
  int64_t serve_due(std::unique_lock<std::mutex>& lock);
  void wake() noexcept { ::eventfd_write(wake_fd.get(), 1); }

  FileDescriptor epoll_fd;
  FileDescriptor wake_fd;
  std::mutex mutex;              // guards all below; not held while an endpoint is served
  std::condition_variable idle;  // `serving` has changed
  std::map<Endpoint*, Watch> watches;
  Endpoint* serving = nullptr;
  bool stopping = false;
  std::thread thread;
};

NetworkThread::Impl::Impl()
    : epoll_fd(::epoll_create1(EPOLL_CLOEXEC)), wake_fd(::eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK)) {
  epoll_event event{.events = EPOLLIN, .data = {.ptr = nullptr}};
  if (!epoll_fd || !wake_fd ||
      ::epoll_ctl(epoll_fd.get(), EPOLL_CTL_ADD, wake_fd.get(), &event) != 0) {
    throw system_error("can't make the network thread's epoll and eventfd", errno);
  }
  // Signals are for the program's own threads.
  sigset_t all, before;
  sigfillset(&all);
  pthread_sigmask(SIG_SETMASK, &all, &before);
  thread = std::thread([this] { run(); });
  pthread_sigmask(SIG_SETMASK, &before, nullptr);
  pthread_setname_np(thread.native_handle(), "tutti-net");
}

NetworkThread::Impl::~Impl() {
  {
    const std::lock_guard lock(mutex);
    stopping = true;
  }
  wake();
  thread.join();
}

void NetworkThread::Impl::run() {
  std::array<epoll_event, 32> events;
  int64_t next_ns = INT64_MAX;
  while (true) {
    int timeout_ms = -1;
    if (next_ns != INT64_MAX) {
      const int64_t left = std::max<int64_t>(0, next_ns - now_ns());
      timeout_ms = static_cast<int>((left + kNsPerMs - 1) / kNsPerMs);
    }
    const int n = ::epoll_wait(epoll_fd.get(), events.data(), events.size(), timeout_ms);
    std::unique_lock lock(mutex);
    if (stopping) return;
    for (int i = 0; i < n; ++i) {
      auto* const endpoint = static_cast<Endpoint*>(events[static_cast<size_t>(i)].data.ptr);
      if (endpoint == nullptr) {
        eventfd_t ignored = 0;
        ::eventfd_read(wake_fd.get(), &ignored);
      } else if (const auto at = watches.find(endpoint); at != watches.end()) {
        at->second.look_ns = 0;  // now
      }
    }
    next_ns = serve_due(lock);
  }
}

// Returns when to look next.
int64_t NetworkThread::Impl::serve_due(std::unique_lock<std::mutex>& lock) {
  const int64_t now = now_ns();
  std::vector<Endpoint*> due;
  for (auto& [endpoint, watch] : watches) {
    if (watch.look_ns <= now) due.push_back(endpoint);
  }
  for (Endpoint* endpoint : due) {
    const auto at = watches.find(endpoint);
    if (at == watches.end()) continue;  // removed meanwhile
    serving = endpoint;
    Watch watch = at->second;
    lock.unlock();
    serve(*endpoint, watch);
    lock.lock();
    serving = nullptr;
    idle.notify_all();
    if (const auto again = watches.find(endpoint); again != watches.end()) {
      if (again->second.asked) watch.look_ns = 0;  // asked while it was served, perhaps too late
      watch.asked = false;
      again->second = watch;
    }
  }
  int64_t next = INT64_MAX;
  for (const auto& [endpoint, watch] : watches) next = std::min(next, watch.look_ns);
  return next;
}

void NetworkThread::Impl::serve(Endpoint& endpoint, Watch& watch) noexcept {
  const std::lock_guard lock(endpoint.mutex());
  const uint64_t polls = endpoint.polls();
  if (std::exchange(watch.polls, polls) != polls && !endpoint.caller_sleeps()) {
    endpoint.set_armed(Armed::kNot);
    watch.look_ns = now_ns() + kLookNs;
    return;
  }
  (void)endpoint.move(nullptr, true);
  const bool armed = arm(endpoint);
  // Where there is no descriptor, nothing else would notice even a stranger.
  const bool blind = endpoint.carrier().event_fd() < 0;
  const bool ticking = endpoint.has_sessions() || !armed || blind;
  watch.look_ns = !ticking ? INT64_MAX : now_ns() + (armed && !blind ? kTickNs : kLookNs);
}

// Under the endpoint's lock. False when things keep arriving.
bool NetworkThread::Impl::arm(Endpoint& endpoint) noexcept {
  Carrier& carrier = endpoint.carrier();
  const bool writing = endpoint.wants_to_write();
  const Armed wanted = writing ? Armed::kReadingAndWriting : Armed::kReading;
  for (int round = 0; !carrier.arm(writing); ++round) {
    if (round == kArmRounds) return false;
    (void)endpoint.move(nullptr, true);
  }
  if (carrier.event_fd() >= 0) {
    epoll_event event{.events = EPOLLIN | EPOLLONESHOT, .data = {.ptr = &endpoint}};
    if (::epoll_ctl(epoll_fd.get(), EPOLL_CTL_MOD, carrier.event_fd(), &event) != 0) return false;
  }
  endpoint.set_armed(wanted);
  return true;
}

NetworkThread::NetworkThread() : impl_(std::make_unique<Impl>()) {}
NetworkThread::~NetworkThread() = default;

std::shared_ptr<NetworkThread> NetworkThread::shared() {
  struct Current {
    std::weak_ptr<NetworkThread> thread;
  };
  return ProcessLocal<Current>::with([](Current& current) {
    auto thread = current.thread.lock();
    if (thread == nullptr) {
      thread.reset(new NetworkThread);
      current.thread = thread;
    }
    return thread;
  });
}

void NetworkThread::add(Endpoint& endpoint) {
  const int fd = endpoint.carrier().event_fd();
  const std::lock_guard lock(impl_->mutex);
  if (fd >= 0) {
    epoll_event event{.events = 0, .data = {.ptr = &endpoint}};
    if (::epoll_ctl(impl_->epoll_fd.get(), EPOLL_CTL_ADD, fd, &event) != 0)
      throw system_error("the network thread can't watch a network's descriptor", errno);
  }
  impl_->watches[&endpoint] = {};
  impl_->wake();
}

void NetworkThread::remove(Endpoint& endpoint) noexcept {
  std::unique_lock lock(impl_->mutex);
  if (impl_->watches.erase(&endpoint) == 0) return;
  const int fd = endpoint.carrier().event_fd();
  if (fd >= 0) ::epoll_ctl(impl_->epoll_fd.get(), EPOLL_CTL_DEL, fd, nullptr);
  impl_->idle.wait(lock, [&] { return impl_->serving != &endpoint; });
}

void NetworkThread::look(Endpoint& endpoint) noexcept {
  const std::lock_guard lock(impl_->mutex);
  const auto at = impl_->watches.find(&endpoint);
  if (at == impl_->watches.end()) return;
  at->second.asked = impl_->serving == &endpoint;
  if (at->second.look_ns != INT64_MAX) return;
  at->second.look_ns = 0;
  impl_->wake();
}

void NetworkThread::arm(Endpoint& endpoint) noexcept { (void)impl_->arm(endpoint); }

}  // namespace tutti::transport::network
