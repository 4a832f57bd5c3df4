// SPDX-License-Identifier: Apache-2.0
// How threads hand work to the control thread and wait for it: all of the bootstrap that blocks a
// thread other than in a socket.
#include <exception>

#include "src/base/log.h"
#include "src/bootstrap/channel.h"

namespace tutti::bootstrap {
namespace {

constexpr int64_t kAbortPollNs = 20 * kNsPerMs;  // nobody rings when *aborted is set

}  // namespace

void run_on(ControlThread& control, std::function<void()> task) {
  if (control.is_current()) return task();
  struct Run {
    Monitor monitor;
    bool done = false;
    std::exception_ptr error;
  };
  const auto run = std::make_shared<Run>();  // shared: the control thread still notifies when the
                                             // waiter has gone on
  control.at(Deadline::at_ns(0), [run, task = std::move(task)] {
    try {
      task();
    } catch (...) {
      run->error = std::current_exception();
    }
    const Monitor::Lock lock = run->monitor.lock();
    run->done = true;
    run->monitor.notify_all();
  });
  Monitor::Lock lock = run->monitor.lock();
  // Without a deadline: callbacks never block, and `task` may refer to the caller's stack.
  run->monitor.wait(lock, Deadline::never(), [&] { return run->done; });
  if (run->error != nullptr) std::rethrow_exception(run->error);
}

void run_on_at_end(ControlThread& control, std::function<void()> task) noexcept {
  try {
    run_on(control, std::move(task));
  } catch (const std::exception& error) {
    log(LogLevel::kDebug, "bootstrap", -1, "nothing to end: {}", error.what());
  }
}

void Signal::notify() {
  const Monitor::Lock lock = monitor_.lock();
  notified_ = true;
  monitor_.notify_all();
}

Woken Signal::wait(const Patience& patience) {
  Monitor::Lock lock = monitor_.lock();
  for (;;) {
    if (patience.is_aborted()) return Woken::kAborted;
    const Deadline next_look =
        patience.aborted == nullptr || patience.deadline.left_ns() < kAbortPollNs
            ? patience.deadline
            : Deadline::after_ns(kAbortPollNs);
    if (monitor_.wait(lock, next_look, [&] { return notified_; })) break;
    if (patience.deadline.expired()) return Woken::kExpired;
  }
  notified_ = false;
  return Woken::kNotified;
}

}  // namespace tutti::bootstrap
