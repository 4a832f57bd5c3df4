// SPDX-License-Identifier: Apache-2.0
// The control thread: an epoll loop with watches, timers and an eventfd that interrupts it.
#include "src/base/control_thread.h"

#include <pthread.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <condition_variable>
#include <csignal>
#include <map>
#include <mutex>
#include <set>
#include <string>
#include <thread>
#include <unordered_map>

#include <sys/epoll.h>
#include <sys/eventfd.h>

#include "src/base/error.h"
#include "src/base/file.h"
#include "src/base/log.h"
#include "src/base/process_local.h"

namespace tutti {
namespace {

constexpr ControlThread::Id kWakeId = 0;  // epoll's name of the eventfd; no watch or timer has it
constexpr int kEventsPerRound = 32;

// Shared by the ControlThread and its thread: the last shared_ptr<ControlThread> may go inside a
// callback, and then the thread ends by itself, after its owner.
class Loop {
 public:
  using Id = ControlThread::Id;

  Loop();
  Id watch(int fd, std::function<void()> on_readable);
  Id at(Deadline when, std::function<void()> on_time);
  void remove(Id id);
  void stop();
  void run();
  bool is_current() const noexcept { return current_ == this; }

 private:
  // Shared with the running call: a callback that removes itself must outlive its own call.
  using Callback = std::shared_ptr<const std::function<void()>>;
  struct Watch {
    int fd;
    Callback callback;
  };
  struct Timer {
    int64_t time_ns;
    Callback callback;
  };

  void wake() noexcept;
  bool next_deadline(Deadline* next);
  void run_watch(Id id);
  void run_due_timers();
  void call(Id id, Callback callback, std::unique_lock<std::mutex>& lock);

  static thread_local const Loop* current_;

  FileDescriptor epoll_;
  FileDescriptor wake_;
  std::mutex mutex_;              // guards all below; never held while a callback runs
  std::condition_variable idle_;  // `running_` has changed
  Id next_id_ = kWakeId + 1;
  Id running_ = kWakeId;  // whose callback runs now; kWakeId: none
  bool stopping_ = false;
  std::unordered_map<Id, Watch> watches_;
  std::unordered_map<Id, Timer> timers_;
  std::set<std::pair<int64_t, Id>> due_;  // timers_ by time
};

thread_local const Loop* Loop::current_ = nullptr;

Loop::Loop()
    : epoll_(::epoll_create1(EPOLL_CLOEXEC)), wake_(::eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK)) {
  if (!epoll_ || !wake_)
    throw system_error("can't make the control thread's epoll and eventfd", errno);
  epoll_event event{.events = EPOLLIN, .data = {.u64 = kWakeId}};
  if (::epoll_ctl(epoll_.get(), EPOLL_CTL_ADD, wake_.get(), &event) != 0) {
    throw system_error("can't watch the control thread's eventfd", errno);
  }
}

Loop::Id Loop::watch(int fd, std::function<void()> on_readable) {
  const std::lock_guard lock(mutex_);
  const Id id = next_id_++;
  watches_.emplace(
      id, Watch{fd, std::make_shared<const std::function<void()>>(std::move(on_readable))});
  epoll_event event{.events = EPOLLIN | EPOLLRDHUP, .data = {.u64 = id}};
  if (::epoll_ctl(epoll_.get(), EPOLL_CTL_ADD, fd, &event) != 0) {
    const int error_number = errno;
    watches_.erase(id);
    throw system_error("the control thread can't watch file descriptor " + std::to_string(fd),
                       error_number);
  }
  return id;
}

Loop::Id Loop::at(Deadline when, std::function<void()> on_time) {
  const std::lock_guard lock(mutex_);
  const Id id = next_id_++;
  timers_.emplace(
      id, Timer{when.time_ns(), std::make_shared<const std::function<void()>>(std::move(on_time))});
  due_.emplace(when.time_ns(), id);
  if (due_.begin()->second == id && !is_current()) wake();
  return id;
}

void Loop::remove(Id id) {
  // Destroyed after the lock is released: captures may call back into this class.
  std::unordered_map<Id, Watch>::node_type removed_watch;
  std::unordered_map<Id, Timer>::node_type removed_timer;
  std::unique_lock lock(mutex_);
  removed_watch = watches_.extract(id);
  if (!removed_watch.empty())
    ::epoll_ctl(epoll_.get(), EPOLL_CTL_DEL, removed_watch.mapped().fd, nullptr);
  removed_timer = timers_.extract(id);
  if (!removed_timer.empty()) due_.erase({removed_timer.mapped().time_ns, id});
  if (!is_current()) idle_.wait(lock, [&] { return running_ != id; });
}

void Loop::stop() {
  const std::lock_guard lock(mutex_);
  stopping_ = true;
  wake();
}

// The counter can't overflow (each round clears it), so the write can't fail.
void Loop::wake() noexcept { ::eventfd_write(wake_.get(), 1); }

// False when the loop is to end.
bool Loop::next_deadline(Deadline* next) {
  const std::lock_guard lock(mutex_);
  *next = due_.empty() ? Deadline::never() : Deadline::at_ns(due_.begin()->first);
  return !stopping_;
}

void Loop::run() {
  current_ = this;
  std::array<epoll_event, kEventsPerRound> events{};
  Deadline next = Deadline::never();
  while (next_deadline(&next)) {
    const int ready = ::epoll_wait(epoll_.get(), events.data(), kEventsPerRound, next.left_ms());
    for (int i = 0; i < ready; ++i) {
      const Id id = events[static_cast<size_t>(i)].data.u64;
      if (id != kWakeId) {
        run_watch(id);
      } else {
        eventfd_t ignored = 0;
        ::eventfd_read(wake_.get(), &ignored);
      }
    }
    run_due_timers();
  }
}

void Loop::run_watch(Id id) {
  std::unique_lock lock(mutex_);
  const auto found = watches_.find(id);  // gone when an earlier callback of this round removed it
  if (found == watches_.end() || stopping_) return;
  call(id, found->second.callback, lock);
}

void Loop::run_due_timers() {
  const int64_t now = now_ns();  // timers that callbacks add wait for the next round
  std::unique_lock lock(mutex_);
  while (!stopping_ && !due_.empty() && due_.begin()->first <= now) {
    const Id id = due_.begin()->second;
    due_.erase(due_.begin());
    call(id, timers_.extract(id).mapped().callback, lock);
  }
}

// Enters and leaves with the lock held; calls, and destroys what the callback captured, without it.
void Loop::call(Id id, Callback callback, std::unique_lock<std::mutex>& lock) {
  running_ = id;
  lock.unlock();
  try {
    (*callback)();
  } catch (const std::exception& error) {
    log(LogLevel::kError, "control", -1, "a callback threw: {}", error.what());
  }
  callback.reset();
  lock.lock();
  running_ = kWakeId;
  idle_.notify_all();
}

}  // namespace

struct ControlThread::Impl {
  std::shared_ptr<Loop> loop = std::make_shared<Loop>();
  std::thread thread;
  pid_t owner = ::getpid();

  // A forked child has the object but not the thread, and shares the epoll set with its parent.
  bool inherited() const noexcept { return owner != ::getpid(); }
  Loop& usable() const {
    if (inherited()) {
      throw Error(StatusCode::kInvalidUsage, "this control thread belongs to process " +
                                                 std::to_string(owner) +
                                                 ", which forked; make communicators after fork");
    }
    return *loop;
  }
};

ControlThread::ControlThread() : impl_(std::make_unique<Impl>()) {
  sigset_t all;
  sigset_t before;
  ::sigfillset(&all);
  ::pthread_sigmask(SIG_SETMASK, &all,
                    &before);  // inherited by the thread: signals go to the user's threads
  try {
    impl_->thread = std::thread([loop = impl_->loop] { loop->run(); });
  } catch (const std::system_error& error) {
    ::pthread_sigmask(SIG_SETMASK, &before, nullptr);
    throw system_error("can't start the control thread", error.code().value());
  }
  ::pthread_sigmask(SIG_SETMASK, &before, nullptr);
  ::pthread_setname_np(impl_->thread.native_handle(), "tutti-control");
}

ControlThread::~ControlThread() {
  if (impl_->inherited()) {
    // The thread runs in the parent only, so it can be neither joined nor detached, and its locks
    // may be taken for ever.
    (void)impl_.release();
    return;
  }
  impl_->loop->stop();
  if (is_current()) {
    impl_->thread.detach();
  } else {
    impl_->thread.join();
  }
}

std::shared_ptr<ControlThread> ControlThread::shared() {
  return ProcessLocal<std::weak_ptr<ControlThread>>::with(
      [](std::weak_ptr<ControlThread>& current) {
        auto thread = current.lock();
        if (thread == nullptr) {
          thread.reset(new ControlThread);
          current = thread;
        }
        return thread;
      });
}

ControlThread::Id ControlThread::watch(int fd, std::function<void()> on_readable) {
  return impl_->usable().watch(fd, std::move(on_readable));
}

ControlThread::Id ControlThread::at(Deadline when, std::function<void()> on_time) {
  return impl_->usable().at(when, std::move(on_time));
}

void ControlThread::remove(Id id) {
  if (!impl_->inherited()) impl_->loop->remove(id);
}

bool ControlThread::is_current() const noexcept { return impl_->loop->is_current(); }

}  // namespace tutti
