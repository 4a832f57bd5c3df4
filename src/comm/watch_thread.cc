// SPDX-License-Identifier: Apache-2.0
// One round of looks after the other, and a nap in between.
#include "src/comm/watch_thread.h"

#include <pthread.h>

#include <algorithm>
#include <csignal>
#include <map>
#include <string>
#include <system_error>
#include <thread>

#include "src/base/clock.h"
#include "src/base/error.h"
#include "src/base/liveness.h"
#include "src/base/monitor.h"
#include "src/base/process_local.h"

namespace tutti::comm {
namespace {

constexpr int64_t kBusyNs = kNsPerMs;
constexpr int64_t kGlanceNs = 4 * kNsPerMs;

Deadline nap_of(WatchThread::Pace pace) noexcept {
  switch (pace) {
    case WatchThread::Pace::kBusy:
      return Deadline::after_ns(kBusyNs);
    case WatchThread::Pace::kGlance:
      return Deadline::after_ns(kGlanceNs);
    case WatchThread::Pace::kRest:
      break;
  }
  return Deadline::never();
}

}  // namespace

struct WatchThread::Impl {
  Impl();
  void run();
  Pace look_at_all(Monitor::Lock& lock);
  // A forked child has the object but not the thread, and its locks may be taken for ever.
  bool inherited() const noexcept { return owner != own_pid(); }

  Monitor monitor;  // guards all below; not held during a look
  std::map<uint64_t, Watched*> watched;
  uint64_t next_id = 1;
  Watched* looking_at = nullptr;
  bool asked = false;  // to look, since the last round has begun
  bool stopping = false;
  const int32_t owner = own_pid();
  std::thread thread;
};

WatchThread::Impl::Impl() {
  // Signals are for the program's own threads.
  sigset_t all, before;
  ::sigfillset(&all);
  ::pthread_sigmask(SIG_SETMASK, &all, &before);
  try {
    thread = std::thread([this] { run(); });
  } catch (const std::system_error& error) {
    ::pthread_sigmask(SIG_SETMASK, &before, nullptr);
    throw system_error("can't start the thread that watches GPUs", error.code().value());
  }
  ::pthread_sigmask(SIG_SETMASK, &before, nullptr);
  ::pthread_setname_np(thread.native_handle(), "tutti-watch");
}

void WatchThread::Impl::run() {
  Monitor::Lock lock = monitor.lock();
  while (!stopping) {
    asked = false;
    const Pace pace = look_at_all(lock);
    monitor.wait(lock, nap_of(pace), [this] { return asked || stopping; });
  }
}

// Enters and leaves with the lock held. What is removed meanwhile is skipped, what is added is
// looked at.
WatchThread::Pace WatchThread::Impl::look_at_all(Monitor::Lock& lock) {
  Pace busiest = Pace::kRest;
  uint64_t last = 0;
  for (auto at = watched.begin(); at != watched.end() && !stopping;
       at = watched.upper_bound(last)) {
    last = at->first;
    looking_at = at->second;
    Watched& one = *looking_at;
    lock.unlock();
    const Pace pace = one.look(now_ns());
    lock.lock();
    looking_at = nullptr;
    monitor.notify_all();
    busiest = std::min(busiest, pace);
  }
  return busiest;
}

WatchThread::WatchThread() : impl_(std::make_unique<Impl>()) {}

WatchThread::~WatchThread() {
  if (impl_->inherited()) {
    (void)impl_.release();
    return;
  }
  {
    const Monitor::Lock lock = impl_->monitor.lock();
    impl_->stopping = true;
  }
  impl_->monitor.notify_all();
  impl_->thread.join();
}

std::shared_ptr<WatchThread> WatchThread::shared() {
  struct Current {
    std::weak_ptr<WatchThread> thread;
  };
  return ProcessLocal<Current>::with([](Current& current) {
    auto thread = current.thread.lock();
    if (thread == nullptr) {
      thread.reset(new WatchThread);
      current.thread = thread;
    }
    return thread;
  });
}

void WatchThread::add(Watched& watched) {
  if (impl_->inherited()) {
    throw Error(StatusCode::kInvalidUsage, "the thread that watches GPUs belongs to process " +
                                               std::to_string(impl_->owner) +
                                               ", which forked; make communicators after fork");
  }
  {
    const Monitor::Lock lock = impl_->monitor.lock();
    impl_->watched.emplace(impl_->next_id++, &watched);
    impl_->asked = true;
  }
  impl_->monitor.notify_all();
}

void WatchThread::remove(Watched& watched) noexcept {
  if (impl_->inherited()) return;
  Monitor::Lock lock = impl_->monitor.lock();
  std::erase_if(impl_->watched, [&](const auto& entry) { return entry.second == &watched; });
  impl_->monitor.wait(lock, Deadline::never(), [&] { return impl_->looking_at != &watched; });
}

void WatchThread::wake() noexcept {
  if (impl_->inherited()) return;
  {
    const Monitor::Lock lock = impl_->monitor.lock();
    impl_->asked = true;
  }
  impl_->monitor.notify_all();
}

}  // namespace tutti::comm
